"""What an additive model adds up, and how far each column can be pushed."""

from sklearn.datasets import load_breast_cancer

from skrobust import LpBall, RobustClassifier
from skrobust.inspection import AdditiveDisplay

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
threat = LpBall(scale="range").bind(X)
model = RobustClassifier("additive", radius=0.05, threat=threat).fit(X, y)
AdditiveDisplay.from_estimator(model, X, radius=0.05, threat=threat)
