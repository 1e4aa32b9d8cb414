"""Running the chapters, and copies of them for learners: `make notebooks`, `make student`."""
