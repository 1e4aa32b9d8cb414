"""What an exercise is, how an answer is judged, and how two models are compared."""
