"""How the two embedded models were made. The book itself never imports this, nor torch."""
