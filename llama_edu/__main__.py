"""`python -m llama_edu`: see `llama_edu.cli.main`."""

import sys

from llama_edu.cli.main import main

sys.exit(main())
