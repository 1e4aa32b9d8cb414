"""What all figures share: axes and their colours, pictures, tables, steppers."""
