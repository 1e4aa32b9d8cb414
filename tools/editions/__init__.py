"""The book on paper and in an e-reader, made from the built pages: `make pdf`, `make epub`."""
