"""A class: assignments out of the chapters, and grading that trusts no submission.

`python -m llama_edu classroom nbgrader|otter FOLDER` writes what those tools read; nothing here
imports them. Every answer is judged in a process of its own (`judge`), on inputs that are drawn
for each student anew.

    from llama_edu.classroom import must
    must(check.norm_rows(norm_rows_mine))

is how an assignment's visible checks look.
"""

from llama_edu.classroom.submission import NotYetError, hand_in, must

__all__ = ["NotYetError", "hand_in", "must"]
