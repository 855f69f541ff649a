"""The report of `slick study`: what fine-tuning did, each figure beside the paper's own, as HTML, Markdown and JSON.

data      a finished study's directory, read     blocks    sections, tables, cells, claims: what a report is made of
asked     facts, their groups and clusters       measures  accuracies and differences of variants, with intervals
paper     the paper's numbers                    pictures  lines with intervals, as SVG
baselines the commonest answer, and abstention
shares (trend), controls, training (waiting), model, why, early_stopping, categories, idk, truth, exposure, plane,
noise, every (fitted), protocol   one section each; in brackets what only it needs
report    all of it together                     render    the three formats
"""
