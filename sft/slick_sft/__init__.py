"""What is done with knowledge: mixing fine-tuning sets, training, growing organisms."""
