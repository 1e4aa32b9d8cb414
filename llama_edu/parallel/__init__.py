"""One model on several machines: split by KV groups, or by layers, and joined again by messages."""
