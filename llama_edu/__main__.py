"""`python -m llama_edu`: see `llama_edu.cli`."""

import sys

from llama_edu.cli import main

sys.exit(main())
