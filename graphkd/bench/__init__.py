"""`graphkd bench`: speed and memory of trained models and of training steps."""
