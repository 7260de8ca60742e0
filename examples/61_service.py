"""A model behind HTTP, watched: /predict, /label, /state, /metrics, with nothing but the standard library.

    python examples/61_service.py            # starts it, asks it a few things, stops it
    python examples/61_service.py --serve    # stays, on port 8100

    curl -d '{"rows": [[5.1, 3.5, 1.4, 0.2]], "ids": ["a"]}' localhost:8100/predict
    curl -d '{"ids": ["a"], "labels": [0]}' localhost:8100/label
    curl localhost:8100/state
    curl localhost:8100/metrics

The store survives a kill of the service, and several services may share it: start this twice on two
ports. In a real one, load the fitted model and its reference rows from files.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skrobust import RobustnessMonitor


class Handler(BaseHTTPRequestHandler):
    """One request; the monitor is shared by all threads."""

    monitor: RobustnessMonitor

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._send(self.monitor.to_prometheus(), "text/plain; version=0.0.4")
        elif self.path == "/state":
            state = self.monitor.state()
            reasons = [str(reason) for reason in state.reasons]
            self._json({"alarm": state.alarm, "reasons": reasons, "advice": state.advice})
        else:
            self._json({"error": "no such page"}, 404)

    def do_POST(self) -> None:
        try:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._json(self._answer(asked))
        except (KeyError, TypeError, ValueError) as error:
            self._json({"error": str(error)}, 400)

    def _answer(self, asked: dict) -> dict:
        if self.path == "/predict":
            rows = np.array(asked["rows"], dtype=float)
            model = self.monitor.estimator
            shares = model.predict_proba(rows)
            state = self.monitor.update(rows, ids=asked.get("ids"), outputs=shares)
            labels = model.classes_[shares.argmax(axis=1)].tolist()
            return {"labels": labels, "ids": state.ids, "alarm": state.alarm}
        if self.path == "/label":
            state = self.monitor.label(asked["ids"], asked["labels"])
            return {"labels": state.n_labelled, "alarm": state.alarm}
        raise ValueError("no such page")

    def _json(self, answer: dict, code: int = 200) -> None:
        self._send(json.dumps(answer), "application/json", code)

    def _send(self, text: str, kind: str, code: int = 200) -> None:
        data = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args) -> None:
        """Quiet."""


def service(store: Path, port: int) -> ThreadingHTTPServer:
    """A service with a model and its monitor, ready to serve."""
    X, y = load_iris(return_X_y=True)
    X_train, X_held, y_train, y_held = train_test_split(X, y, test_size=0.5, random_state=0)
    model = LogisticRegression(max_iter=1000).fit(X_train, y_train)
    monitor = RobustnessMonitor(model, radius=0.2, store=store, window=25, random_state=0)
    monitor.fit(X_held, y_held)  # after a restart: goes on where it stood
    handler = type("Watched", (Handler,), {"monitor": monitor})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def ask(port: int, path: str, question: dict | None = None) -> str:
    data = None if question is None else json.dumps(question).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data) as answer:
        return answer.read().decode()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--store", type=Path, default=Path("monitor.db"))
    args = parser.parse_args()
    if args.serve:
        service(args.store, args.port).serve_forever()
        return
    with tempfile.TemporaryDirectory() as folder:
        server = service(Path(folder) / "monitor.db", 0)
        port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(ask(port, "/predict", {"rows": [[5.1, 3.5, 1.4, 0.2]], "ids": ["a"]}))
        print(ask(port, "/label", {"ids": ["a"], "labels": [0]}))
        for k in range(30):  # a ruler whose zero has moved
            ask(port, "/predict", {"rows": [[8.1 + 0.01 * k, 6.5, 1.4, 0.2]] * 5})
        print(ask(port, "/state"))
        print("\n".join(ask(port, "/metrics").splitlines()[:6]))
        server.shutdown()
        server.server_close()
        server.RequestHandlerClass.monitor.close()


if __name__ == "__main__":
    main()
