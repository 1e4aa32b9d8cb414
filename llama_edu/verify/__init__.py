"""Prove any engine right, or name its mistake: `llama-edu verify`."""
