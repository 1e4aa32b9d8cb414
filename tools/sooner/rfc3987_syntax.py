"""Stands before a package of this name while checks run, and says that there is none.

jsonschema uses it, if it is there, for the formats `iri` and `iri-reference`, which no schema of
ours names. It builds 38 parsers when imported: two seconds of every process that reads a notebook.
"""

raise ImportError("the checks read no internationalized addresses (tools/sooner)")
