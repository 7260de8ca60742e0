"""The style sheet of reports: readable on a desk, on a phone, and on paper."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
.skrobust-report { max-width: 960px; margin: 0 auto; padding: 1rem 1.2rem 2rem; background: #fff;
  color: #1b1b1b; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  box-sizing: border-box; overflow-wrap: break-word; }
.skrobust-report h1 { font-size: 1.7rem; line-height: 1.2; margin: .4rem 0 .2rem; }
.skrobust-report h2 { font-size: 1.25rem; margin: 1.8rem 0 .6rem; padding-bottom: .2rem;
  border-bottom: 1px solid #ccc; }
.skrobust-report h3 { font-size: 1rem; margin: 1.1rem 0 .3rem; }
.skrobust-report .sub, .skrobust-report .note { color: #555; font-size: .88rem; }
.skrobust-report .note { margin: .4rem 0 0; }
.skrobust-report code { font-size: .88em; overflow-wrap: anywhere; }
.skrobust-report ul.verdicts { list-style: none; padding: 0; margin: 1rem 0; }
.skrobust-report ul.verdicts li { border-left: 4px solid #0072b2; background: #f4f7fa;
  padding: .5rem .8rem; margin: .5rem 0; }
.skrobust-report ul.verdicts li.doubt { border-left-color: #d55e00; background: #fdf5ef; }
.skrobust-report ul.advice { padding-left: 1.2rem; }
.skrobust-report ul.advice li { margin: .4rem 0; }
.skrobust-report .good, .skrobust-report .bad, .skrobust-report .warn { font-size: .82em;
  padding: .05em .45em; border-radius: .6em; white-space: nowrap; }
.skrobust-report .good { background: #dcefe8; color: #00523a; }
.skrobust-report .bad { background: #fbe3d3; color: #8a3200; font-weight: 600; }
.skrobust-report .warn { background: #fdf1cf; color: #6b4e00; }
.skrobust-report .none { color: #767676; font-size: .82em; }
.skrobust-report .scroll { overflow-x: auto; }
.skrobust-report table { border-collapse: collapse; width: 100%; font-size: .92rem; margin: .3rem 0; }
.skrobust-report th, .skrobust-report td { text-align: left; vertical-align: top;
  padding: .35rem .7rem .35rem 0; border-bottom: 1px solid #e3e3e3;
  font-variant-numeric: tabular-nums; background: none; }
.skrobust-report th { font-weight: 600; border-bottom: 1px solid #999; vertical-align: bottom; }
.skrobust-report tr { background: none; }
.skrobust-report td small { display: block; color: #666; font-size: .8em; white-space: nowrap; }
.skrobust-report tr.aside td { color: #666; font-size: .88em; padding-top: 0; }
.skrobust-report tr.aside td:first-child { padding-left: 1rem; }
.skrobust-report tr.base td { border-top: 1px solid #999; }
.skrobust-report .lowest { font-weight: 700; }
.skrobust-report table.method td:first-child { color: #555; width: 6rem; }
.skrobust-report table.appendix td:first-child { width: 2.6rem; }
.skrobust-report table.appendix { font-size: .82rem; }
.skrobust-report .pictures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.skrobust-report figure { margin: .6rem auto 0; width: 100%; max-width: 620px; }
.skrobust-report figure svg { width: 100%; height: auto; display: block; }
@media (max-width: 600px) {
  .skrobust-report { padding: .6rem .8rem 1.5rem; font-size: 15px; }
  .skrobust-report table { font-size: .85rem; }
  .skrobust-report th, .skrobust-report td { padding-right: .5rem; }
  .skrobust-report table.checks th { overflow-wrap: anywhere; hyphens: auto; }
  .skrobust-report table.checks td:first-child { min-width: 8.6rem; }
}
@media print {
  @page { margin: 16mm 14mm; }
  .skrobust-report { max-width: none; padding: 0; font-size: 10.5pt; }
  .skrobust-report .scroll { overflow: visible; }
  .skrobust-report figure, .skrobust-report tr, .skrobust-report li { break-inside: avoid; }
  .skrobust-report figure { max-width: 130mm; }
  .skrobust-report ul:not(.verdicts) { break-inside: avoid; }
  .skrobust-report p { break-inside: avoid; }
  .skrobust-report h2, .skrobust-report h3, .skrobust-report thead { break-after: avoid; }
  .skrobust-report h2 + p, .skrobust-report p:has(+ .scroll), .skrobust-report p:has(+ .pictures),
  .skrobust-report p:has(+ figure), .skrobust-report p:has(+ ul) { break-after: avoid; }
  .skrobust-report .sub, .skrobust-report .note { font-size: 9pt; }
  .skrobust-report .scroll + .note { break-before: avoid; }
  .skrobust-report thead { display: table-header-group; }
  .skrobust-report tbody tr:first-child, .skrobust-report tbody tr:nth-last-child(2) { break-after: avoid; }
  .skrobust-report .verdicts li, .skrobust-report .good, .skrobust-report .bad,
  .skrobust-report .warn { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .skrobust-report .pictures { grid-template-columns: repeat(auto-fit, minmax(80mm, 1fr)); }
}
"""
