"""lm-eval tasks: SliCK probes and closed-book scores on EntityQuestions and on the lab."""
