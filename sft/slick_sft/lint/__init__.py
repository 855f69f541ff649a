"""`slick lint`: what a fine-tuning dataset would teach a model that it does not know, before any training."""
