"""Hints for the exercises on splitting, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "group_rows": Guide(
        12,
        ESSENTIAL,
        question="How many whole groups does a rank get, and how many rows of q and of k does "
        "one group have?",
        idea="A rank gets `n_kv_heads / size` groups, rounded up; the last may get fewer. Groups "
        "lie one after another in both matrices, so they are one slice of each. Only the number "
        "of rows for each group differs.",
        code="""
            def group_rows_mine(q, k, n_kv_heads, rank, size):
                share = -(-n_kv_heads // size)  # rounded up
                q_rows = len(q) // n_kv_heads
                ...
                return [q[rank * share * q_rows : ...], k[...]]
            """,
    ),
    "joined": Guide(
        8,
        ESSENTIAL,
        question="If four ranks each add the same vector and their results are added up, how "
        "often is the vector in the sum?",
        idea="Only the parts differ from rank to rank, so only they may be summed. The residual "
        "and the bias are the same everywhere, and belong after the sum.",
        code="""
            def joined_mine(x, parts, bias):
                total = parts[0]
                for part in parts[1:]:
                    total = ...
                return x + ...
            """,
    ),
    "mlp_part": Guide(
        15,
        USEFUL,
        question="The output is a sum over the numbers in the middle of the MLP. What does the "
        "share of one of them need, from gate, from up and from down?",
        idea="Number i comes from row i of gate and row i of up, and goes into column i of down. "
        "A rank takes the same slice of all three, and never needs another rank's numbers before "
        "the sum.",
        code="""
            def mlp_part_mine(x, gate, up, down, rank, size):
                width = len(gate) // size
                mine = slice(...)
                gated = silu(x @ gate[mine].T) * ...
                return gated @ down[...].T
            """,
    ),
    "gathered_id": Guide(
        8,
        USEFUL,
        question="Row 0 of the second rank's table: which word is that? And what is in the last "
        "rows of the last rank, if the words do not divide?",
        idea="The parts stand one after another in the order of the ranks. Put them together, "
        "and leave out what lies past the end of the vocabulary before you look for the largest.",
        code="""
            def gathered_id_mine(parts, vocab_size):
                logits = np.concatenate(...)
                return int(logits[...].argmax())
            """,
    ),
    "ring_step": Guide(
        35,
        EXTRA,
        question="What does a rank send at each step, if it always hands on the piece that it "
        "was given in the step before?",
        idea="Rank r begins with piece r. From then on it sends what came last, and what comes is "
        "always one below what is sent. After the first lap that piece is finished, and the rule "
        "does not change: only what is done with what comes. Everything is counted modulo `size`.",
        code="""
            def ring_step_mine(rank, size, step):
                out = rank - ...
                return out % size, ... % size
            """,
    ),
}
