"""The planted-regression benchmark: many fine-tunings with a known truth, judged by the gate and by what is usual."""
