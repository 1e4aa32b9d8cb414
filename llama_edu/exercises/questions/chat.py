"""Questions on conversations."""

from llama_edu.exercises.framework.question import Choice, Order

__all__ = ["QUESTIONS"]

TURN_ORDER = Order(
    name="turn_order",
    topic="chat",
    ask="You send your third message. Put what the program does in order.",
    steps=(
        "add your message to the list of messages",
        "write the whole list as one text, by the model's template",
        "make ids of the text",
        "compare them with the ids whose keys and values are kept",
        "compute those that are new",
        "write the reply token by token, until its end mark",
    ),
    why=(
        "The text is made of the messages, so yours has to be among them.",
        "Ids are made of a text, and before the template there is only a list.",
        "What can be compared are ids: what is kept was computed for ids.",
        "Without the comparison the program does not know what is new.",
        "The reply begins after the last token of the prompt, so all of the prompt has to be "
        "there.",
    ),
    done="The model itself remembers nothing of this: it is handed everything again, and the cache "
    "only saves the work.",
)

TYPED_MARK = Choice(
    name="typed_mark",
    topic="chat",
    ask="In this model `<|im_end|>` marks the end of a speech. A user asks: *What does "
    "`<|im_end|>` mean?* What should the program do with these letters?",
    answers={
        "Pass them on as the mark, since that is what they spell": "Then the user's speech would "
        "be over in the middle of the question. And somebody else could go on in the name of the "
        "system.",
        "Delete them": "Then nobody could ask this question. What the model reads would not be "
        "what was typed.",
        "Encode them as ordinary letters": "Yes. The same letters can become the one id of the "
        "mark, or a handful of ids of plain text. What people type is text, and the marks come "
        "from the template alone.",
    },
    right="Encode them as ordinary letters",
)

QUESTIONS = (TURN_ORDER, TYPED_MARK)
