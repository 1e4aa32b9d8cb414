"""Hints for the exercises on conversations, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "chatml": Guide(
        10,
        ESSENTIAL,
        question="What stands before each message, and what after it? And how does the text end "
        "if it is the assistant's turn?",
        idea="Every message is `<|im_start|>`, the role, a line break, the content, "
        "`<|im_end|>`, a line break. The generation prompt is the beginning of an assistant's "
        "message, up to where the reply should start.",
        code="""
            def chatml_mine(messages):
                text = ""
                for role, content in messages:
                    text += f"<|im_start|>{role}\\n{content}..."
                return text + ...
            """,
    ),
    "next_prompt": Guide(
        15,
        USEFUL,
        question="The model wrote a reply with the ids 11 and 12. The broken version makes text "
        "of it and ids again. Do the same ids come out?",
        idea="They need not, so keep the ids as they are. Only the question is text. It stands "
        "in the middle of the prompt, so no `bos` may be put before it, and the mark that ends "
        "the reply comes between the two.",
        code="""
            def next_prompt_mine(history, reply, question):
                asked = encode_toy(question, add_special=...)
                return [*history, *reply, ..., *asked]
            """,
    ),
    "turns_to_drop": Guide(
        15,
        USEFUL,
        question="If you drop nothing and it does not fit, what do you try next?",
        idea="Try 0, then 1, then 2, and take the first number that fits. A context that is "
        "filled to the last token is not too full. If even dropping all turns does not help, it "
        "never will.",
        code="""
            def turns_to_drop_mine(system, turns, question, reply_room, context):
                for dropped in range(...):
                    kept = sum(turns[dropped:])
                    if ... <= context:
                        return dropped
                raise ValueError("...")
            """,
    ),
}
