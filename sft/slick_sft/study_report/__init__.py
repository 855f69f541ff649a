"""The report of `slick study`: what fine-tuning did, each figure beside the paper's own, as HTML, Markdown and JSON.

data      a finished study's directory, read     blocks    sections, tables, cells, claims: what a report is made of
paper     the paper's numbers                    measures  accuracies and differences of variants, with intervals
shares (trend), controls, training (waiting), model, early_stopping, categories, idk, truth, exposure, plane, noise,
every     one section each, in brackets what only it needs
pictures  lines with intervals, as SVG           report    all of it together; render: the three formats
"""
