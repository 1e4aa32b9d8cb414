"""The sentences of the stories: openings, eight plots, endings. Data only; see `grammar`.

Every story names its character, the place where the character lives and an object with its
attribute, and comes back to all four in its last sentences. It also has a song, which is sung near
the beginning, in the middle and near the end. A story never begins with a name, and no name follows
a quotation mark, so that a name always stands after a space: one token each.
"""

from __future__ import annotations

WORDS = {
    "sky": ["sunny", "windy", "rainy", "cold", "warm", "bright", "foggy", "frosty", "cloudy"],
    "hour": ["morning", "afternoon", "evening", "day"],
    "when": ["One <sky> <hour>", "One <sky> <hour> near the {place}", "One <hour> by the {place}"],
    "near": ["near", "by", "close to", "not far from"],
    "food": ["apple pie", "warm soup", "fresh bread", "honey cake", "sweet berries", "pancakes"],
    "family": ["family", "parents", "three sisters", "two brothers", "many cousins"],
    "play": ["play", "jump over puddles", "pick flowers", "chase leaves", "climb trees",
             "look for worms", "sing songs"],
    "play_too": ["count clouds", "skip stones", "dance", "swim", "draw pictures", "tell jokes"],
    "playing": ["playing", "jumping over puddles", "picking flowers", "chasing leaves",
                "climbing trees", "singing songs", "counting clouds", "skipping stones"],
    "sad": ["sad", "upset", "worried", "unhappy", "lonely", "gloomy"],
    "glad": ["happy", "glad", "proud", "joyful", "thankful", "delighted"],
    "a_colour": ["a red", "a blue", "a green", "a yellow", "a purple", "an orange", "a pink",
                 "a white", "a black", "a brown", "a golden", "a silver", "a grey"],
    "An_old": ["An old", "A wise", "A kind", "A friendly", "A gentle", "A big", "A tall"],
    "an_old": ["an old", "a wise", "a kind", "a friendly", "a gentle", "a big", "a tall"],
    "said": ["said", "whispered", "murmured"],
    "replied": ["said", "answered", "replied"],
    "cried": ["cried", "called", "shouted", "exclaimed"],
    "went": ["went", "walked", "ran", "hurried", "skipped", "hopped"],
    "loved": ["loved", "adored", "treasured"],
    "carry": ["in {his} arms", "under {his} arm", "on {his} back", "held tight"],
    "soon": ["Soon", "Before long", "After a while", "A little later", "Just then"],
    "indoors": ["under the bed", "behind the door", "on every shelf"],
    "indoors_too": ["in the kitchen", "under the stairs", "on the table"],
    "sight": ["bird", "butterfly", "flower", "leaf", "cloud", "fish", "beetle", "door"],
    "tool": ["glue", "string", "a needle", "a small hammer", "tape", "wire"],
    "chore": ["carry wood", "sweep the floor", "water the plants", "wash the windows"],
    "chore_too": ["paint the gate", "feed the ducklings", "dig for potatoes", "bake bread"],
}  # fmt: skip

OPENINGS = {
    "opening": [
        "[Once upon a time|Long ago|Once|Many years ago] there was {a trait} {kind} named {name}."
        " {He} lived <near> the {place}[ with {his} <family>|].",
        "In a [small|cosy|round|tiny|narrow|crooked] [house|hut|cottage] <near> the {place} lived"
        " {a trait} {kind}. {His} name was {name}.",
        "There [once lived|was once] {a trait} {kind} called {name} who [loved|liked] to <play>."
        " {His} home was <near> the {place}.",
        "Everyone <near> the {place} knew {name}, the {trait} {kind}.",
        "Far away, [near|by|close to] the {place}, {a trait} {kind} called {name} lived with"
        " {his} <family>.",
        "This is the story of {name}, {a trait} {kind} who lived <near> the {place}.",
        "Do you know {name}, the {trait} {kind} from the {place}? {He} [loved|liked] to <play>.",
        "Down by the {place} lived {a trait} {kind} called {name}[, who liked to <play>|].",
        "Of all the animals <near> the {place}, none was as {trait} as {name} the {kind}.",
    ],
    "aside": [
        "{name} [loved|liked] to <play> by the {place} and to <play_too>.",
        "Most of all, {he} liked to <play> when it was <sky>.",
        "On <sky> days {name} would <play> near the {place} until [noon|dark].",
        "Once {he} saw <a_colour> <sight> by the {place} and [followed|watched] it all <hour>.",
        "That <hour> <a_colour> <sight> made {him} laugh.",
    ],
    "treasure": [
        "{He} had {a attribute} {object}, and {he} <loved> it [very much|more than anything].",
        "{His} [dearest|most precious|favourite] thing was {a attribute} {object}.",
        "More than anything else, {name} <loved> {his} {attribute} {object}.",
        "For {his} [birthday|last birthday], {his} {relative} had given {him} {a attribute}"
        " {object}.",
        "{name} never went anywhere without {his} {attribute} {object}.",
        "Beside {his} bed {he} kept {a attribute} {object}, a gift from {his} {relative}.",
    ],
    "first_song": [
        "All day long {he} sang: {song}.",
        "{His} [favourite|little|only] song was this: {song}.",
        "When {he} was <glad>, {name} sang: {song}.",
        "The birds by the {place} had taught {name} a song: {song}.",
    ],
}

HELP = {
    "meet": [
        "<soon> <an_old> {helper} came [by|walking from the {place}].",
        "On the [path|way] to the {place} {he} met <an_old> {helper}.",
        "<An_old> {helper} from the {place} [heard|saw] {him} and [stopped|came closer].",
        "Luckily, <an_old> {helper} was [resting|sitting|working] near the {place}.",
    ],
    "sing": [
        "Softly {he} sang: {song}.",
        "{name} sang to {himself}: {song}.",
        "To feel less alone, {name} sang: {song}.",
    ],
    "ask": [
        '"Why are you so <sad>, {name}?" asked the {helper}.',
        '"What is [wrong|the matter], dear {kind}?" asked the {helper}.',
        '"Can I help you, {name}?" [said|asked] the {helper}.',
        "The {helper} asked {name} what had happened.",
    ],
    "thanks": [
        '"Thank you, [dear|kind|good] {helper}!" <cried> {name}.',
        "{name} thanked the {helper} [again and again|with all {his} heart|with a big hug].",
        '"You are a true friend," {name} said to the {helper}.',
        "{name} was so <glad> that {he} [hugged|kissed|danced with] the {helper}.",
    ],
    "sadness": [
        "{name} felt [very |so |quite |]<sad>.",
        "{He} sat down and [began to cry|wept|sighed deeply].",
        "[Two big tears|A tear] ran down {his} [nose|cheeks|face].",
        "How <sad> {name} was!",
    ],
}

PLOTS = {
    "lost": [
        "<treasure> <lose> <search> <sadness> <sing> <meet> <ask> <tell> <find> <thanks>",
        "<treasure> <lose> <sadness> <search> <sing> <meet> <tell> <find> <thanks>",
    ],
    "lose": [
        "<when>, {he} was <playing> and lost the {attribute} {object}.",
        "But one <sky> <hour> the {attribute} {object} was [gone|nowhere to be seen].",
        "<when>, the {attribute} {object} [slipped|fell] out of {his} [hands|pocket],"
        " and {name} did not notice.",
        "Then, on a <sky> <hour>, {name} forgot where {he} had put the {attribute} {object}.",
    ],
    "search": [
        "{name} looked <indoors> and <indoors_too>, but the {attribute} {object} was not there.",
        '"Where is my {attribute} {object}?" <cried> {name}.',
        "{He} searched [all day|for hours|everywhere] but could not find the {attribute} {object}.",
    ],
    "tell": [
        '"I have lost my {attribute} {object}," <said> {name}.',
        '"My {attribute} {object} is gone," {he} <said>.',
        "{name} told the {helper} about the {attribute} {object}.",
    ],
    "find": [
        "They looked {spot}, and there [lay|was] the {attribute} {object}!",
        "At last the {helper} found the {attribute} {object} {spot}.",
        '"I saw it {spot}," said the {helper}. And there, {spot}, was the {attribute} {object}.',
    ],
    "stuck": [
        "<treasure> <blown> <reach> <sadness> <sing> <meet> <ask> <fetch> <thanks>",
        "<treasure> <blown> <reach> <sing> <meet> <plead> <fetch> <thanks>",
    ],
    "blown": [
        "<when>, the wind blew the {attribute} {object} {perch}.",
        "<when>, {name} threw the {attribute} {object} too far, and it [flew|went] {perch}.",
        "But one <hour> a [naughty|cheeky] magpie took the {attribute} {object} and dropped it"
        " {perch}.",
    ],
    "reach": [
        "{He} [jumped|stretched|climbed] and [jumped|stretched|climbed], but could not reach it.",
        "{name} tried with a long stick, but the {attribute} {object} did not move.",
        '"Oh no, my {attribute} {object}!" <cried> {name}.',
    ],
    "plead": [
        '"Please help me get my {attribute} {object}," {he} <said>.',
        '"My {attribute} {object} went {perch}," <said> {name}.',
    ],
    "fetch": [
        "The {helper} [reached up|took a rope|took a ladder] and brought the {attribute} {object}"
        " back.",
        "Together they [built a ladder|made a long hook|tied a rope] and pulled the {attribute}"
        " {object} free.",
        '"Leave it to me," said the {helper}, and [soon|a moment later] the {attribute} {object}'
        " was safe.",
    ],
    "broken": [
        "<treasure> <break> <sadness> <try> <sing> <meet> <ask> <confess> <mend> <thanks>",
        "<treasure> <break> <try> <sadness> <sing> <meet> <confess> <mend> <thanks>",
    ],
    "break": [
        "<when>, {he} [tripped|stumbled|slipped], and the {attribute} {object} broke.",
        "But one <hour> {name} sat on the {attribute} {object} by mistake, and it cracked.",
        "While {he} was <playing>, the {attribute} {object} fell and broke [in two|to pieces].",
    ],
    "try": [
        "{He} tried to [mend|repair|fix] the {attribute} {object} with <tool>, but it did not"
        " [hold|work].",
        '"I cannot [mend|repair|fix] it," {name} <said>.',
        "{name} [turned|shook] the {attribute} {object} this way and that, but it stayed broken.",
    ],
    "confess": [
        '"I broke my {attribute} {object}," <said> {name}.',
        "{name} showed the {helper} the broken {object}.",
        '"Can you [mend|repair|fix] my {attribute} {object}?" {he} asked.',
    ],
    "mend": [
        "With <tool> and much patience, the {helper} [mended|repaired|fixed] the {attribute}"
        " {object}.",
        "The {helper} took <tool> and worked until the {attribute} {object} was as good as new.",
        '"Hold this," said the {helper}, and together they [mended|repaired|fixed] the'
        " {attribute} {object} with <tool>.",
    ],
    "wish": [
        "<see> <long> <poor> <sing> <meet> <work> <earn> <thanks>",
        "<see> <poor> <long> <sadness> <sing> <meet> <ask> <work> <earn> <thanks>",
    ],
    "see": [
        "<when>, {name} saw {a attribute} {object} in a [shop|window|stall].",
        "In a shop window {he} saw {a attribute} {object} that [sparkled|shone|glowed].",
        "On a <sky> <hour> {he} found a shop that sold only one thing: {a attribute} {object}.",
    ],
    "long": [
        '"I wish I had that {attribute} {object}," <said> {name}.',
        "{He} dreamed of the {attribute} {object} all night.",
        "{name} wanted the {attribute} {object} more than anything.",
    ],
    "poor": [
        "But {he} had no [money|coins].",
        "But the {attribute} {object} cost [ten|twenty|five] coins, and {name} had only"
        " [one|two|three].",
        "There was not a single coin in {his} pocket.",
    ],
    "work": [
        '"Help me <chore>, and I will [pay|thank] you well," said the {helper}.',
        "The {helper} needed someone to <chore>, and {name} was [quick to help|ready].",
        "All <hour> {name} helped the {helper} to <chore> and to <chore_too>.",
    ],
    "earn": [
        "In the end {he} had enough coins and bought the {attribute} {object}.",
        "When the work was done, the {helper} gave {him} the {attribute} {object}.",
        "The {helper} smiled, went to the shop and came back with the {attribute} {object}.",
    ],
    "gift": [
        "<birthday> <make> <hide> <trouble> <sing> <meet> <advice> <save> <thanks>",
        "<birthday> <make> <trouble> <sadness> <sing> <meet> <ask> <advice> <save> <thanks>",
    ],
    "birthday": [
        "<when>, {name} remembered that {his} {relative} would soon have a birthday.",
        "{name} wanted to surprise {his} {relative}.",
        '"What can I give my {relative}?" {name} wondered.',
    ],
    "make": [
        "{He} made {a attribute} {object}, all by {himself}.",
        "For [three|four|five] days {he} worked on {a attribute} {object}.",
        "So {name} took paper, paint and cloth and made {a attribute} {object}.",
    ],
    "hide": [
        "{He} hid the {attribute} {object} {spot}.",
        "At night {he} hid the {attribute} {object} {spot}, so that nobody would see it.",
    ],
    "trouble": [
        "But in the [night|evening|morning] the rain came, and the {attribute} {object}"
        " got wet and dirty.",
        "But then {he} spilled [milk|juice|ink] on the {attribute} {object}.",
        "But a strong wind blew, and the {attribute} {object} was covered in [mud|dust|sand].",
    ],
    "advice": [
        '"A little [soap|water|sunshine] will help," <replied> the {helper}.',
        '"Do not worry, {name}," <replied> the {helper}.',
        "The {helper} knew what to do.",
    ],
    "save": [
        "They [washed|cleaned|brushed] the {attribute} {object} until it shone.",
        "Together they [washed|cleaned|brushed] the {attribute} {object} and hung it in the sun.",
        "<soon> the {attribute} {object} looked better than before.",
    ],
    "found": [
        "<discover> <tempt> <owner> <sing> <meet> <mine> <return> <reward>",
        "<discover> <owner> <tempt> <sing> <meet> <ask> <mine> <return> <reward>",
    ],
    "discover": [
        "<when>, {name} found {a attribute} {object} {spot}.",
        "While {he} was <playing>, {he} saw something {spot}. It was {a attribute} {object}!",
        "On a <sky> <hour> {name} looked {spot} and saw {a attribute} {object}.",
    ],
    "tempt": [
        '"I would like to keep this {attribute} {object}," {he} thought.',
        "{name} held the {attribute} {object} up to the light.",
        "How {name} wanted to keep the {attribute} {object}!",
    ],
    "owner": [
        '"But somebody must miss it," {name} <said>.',
        "But {he} knew that the {attribute} {object} was not {his} own.",
        "{He} asked [everyone|all {his} friends] who had lost {a attribute} {object}.",
    ],
    "mine": [
        '"That is my {attribute} {object}!" <cried> the {helper}.',
        '"I have lost my {attribute} {object}," <said> the {helper}.',
        "The {helper} was looking for {a attribute} {object}.",
    ],
    "return": [
        "{name} gave the {attribute} {object} back at once.",
        '"Here it is," <replied> {name} with a smile.',
        "{He} was <sad> for a moment, but {he} gave the {attribute} {object} back.",
    ],
    "reward": [
        '"You are honest, {name}. Keep the {attribute} {object}," <replied> the {helper}.',
        "The {helper} was so <glad> that {name} got the {attribute} {object} as a present.",
        '"I am too old for it," <replied> the {helper}. "Now the {attribute} {object} is yours."',
    ],
    "afraid": [
        "<treasure> <storm> <fear> <sing> <meet> <ask> <comfort> <courage> <dawn>",
        "<treasure> <storm> <fear> <sadness> <sing> <meet> <comfort> <courage> <dawn>",
    ],
    "storm": [
        "One <hour> a [terrible|great|wild] storm came.",
        "One <sky> night there was a [strange|loud|deep] noise outside.",
        "<when>, {name} lost {his} way in the [dark|fog|snow].",
    ],
    "fear": [
        "{name} was afraid and held the {attribute} {object} tight.",
        '"I am [scared|frightened|afraid]," {he} whispered to the {attribute} {object}.',
        "{He} hid {spot} with the {attribute} {object} and [shook|trembled|shivered].",
    ],
    "comfort": [
        '"[Sing|Count|Breathe] with me, {name}," <replied> the {helper}.',
        "The {helper} sat beside {name} and told {him} about a brave [knight|queen|sailor|farmer].",
        '"I was once [scared|frightened|afraid], too," <replied> the {helper}.',
    ],
    "courage": [
        "{name} took the {attribute} {object} and was not afraid any more.",
        "With the {attribute} {object} <carry>, {he} felt brave at last.",
        '"With my {attribute} {object} I can be brave," <said> {name}.',
    ],
    "dawn": [
        "<soon> the sky was [clear|blue|bright] again.",
        "In the morning the sun came out.",
        "<soon> {name} and the {helper} were laughing.",
    ],
    "lend": [
        "<treasure> <sing> <encounter> <need> <doubt> <offer> <use> <back>",
        "<treasure> <sing> <encounter> <need> <offer> <use> <back>",
    ],
    "encounter": [
        "<when>, {name} met <an_old> {helper}.",
        "On the [path|way] to the {place} {name} met <an_old> {helper}.",
        "<when>, <an_old> {helper} knocked at the door.",
        "While {he} was <playing>, {name} heard <an_old> {helper} crying.",
    ],
    "need": [
        '"I am so <sad>," <said> the {helper}. "I need {a object}."',
        "The {helper} was <sad>, for {a object} was missing for the [party|feast|journey].",
        'The {helper} looked at the {attribute} {object} and sighed, "If only I had one."',
    ],
    "doubt": [
        "{name} did not want to give the {attribute} {object} away.",
        "{name} thought about it for a long time.",
        '"But it is my dearest thing," {name} thought.',
    ],
    "offer": [
        '"Take my {attribute} {object}," {he} <said>.',
        '"You may borrow my {attribute} {object}," <said> {name}.',
        "In the end {name} lent the {attribute} {object} to the {helper}.",
    ],
    "use": [
        "The {helper} was <glad> and [sang|danced|laughed] all <hour>.",
        "The {attribute} {object} was just what the {helper} needed.",
        "How <glad> the {helper} was with the {attribute} {object}!",
    ],
    "back": [
        "The next <hour> the {helper} brought the {attribute} {object} back, with <food>.",
        "After [two|three|four] days the {attribute} {object} came back, [clean|polished|wrapped]"
        " like new.",
        '"Here is your {attribute} {object}, {name}," said the {helper}. "Thank you!"',
    ],
}

ENDINGS = {
    "homeward": [
        "{name} <went> back to the {place} with the {attribute} {object} <carry>.",
        "Then {he} carried the {attribute} {object} home to the {place}.",
        "They <went> home to the {place} together, and {name} carried the {attribute} {object}.",
        "Back [near|by|at] the {place}, {name} showed the {attribute} {object} to {his} <family>.",
        "All the animals <near> the {place} came to see {name} and the {attribute} {object}.",
    ],
    "feast": [
        "That <hour> they all ate <food>.",
        "There was <food> for everyone, even for the {helper}.",
        "{He} felt [very |so |quite |]<glad>.",
        "And the {helper} became {his} best friend.",
    ],
    "last_song": [
        "Together they sang: {song}!",
        "The {helper} knew the song, too, and sang: {song}!",
        "And everyone <near> the {place} heard {name} sing: {song}!",
    ],
    "last": [
        "From that day on, {name} [always took good care of|never let go of|was never without]"
        " the {attribute} {object}.",
        "And {name} and the {attribute} {object} were never apart again.",
        "That night {name} fell asleep with the {attribute} {object} beside {him}, <glad> and"
        " [warm|tired|safe].",
        "And whenever {name} [saw|touched|held] the {attribute} {object}, {he} thought of the"
        " {helper} and smiled.",
        "{name} [learned|understood] that a friend is worth more than any {object}, but {he}"
        " still kept the {attribute} {object}.",
    ],
    "given": [
        "When the birthday came, {name} <went> back to the {place} and gave the {attribute}"
        " {object} to {his} {relative}.",
        "Back [near|by|at] the {place}, {his} {relative} unwrapped the gift and saw the {attribute}"
        " {object} from {name}.",
    ],
    "given_last": [
        'And {his} {relative} said, "Dear {name}, this {attribute} {object} is the best gift of'
        ' all."',
        "{name} was <glad>, and {his} {relative} never went out without the {attribute} {object}.",
        "From that day on the {attribute} {object} stood beside the bed, and {name} was <glad>.",
    ],
    "own_ending": ["<homeward> <last_song>[ <feast>|] <last>[| The end.]"],
    "gift_ending": ["<given> <last_song>[ <feast>|] <given_last>[| The end.]"],
}

STORY = {
    "story": [
        "<start> <lost> <own_ending>",
        "<start> <stuck> <own_ending>",
        "<start> <broken> <own_ending>",
        "<start> <wish> <own_ending>",
        "<start> <gift> <gift_ending>",
        "<start> <found> <own_ending>",
        "<start> <afraid> <own_ending>",
        "<start> <lend> <own_ending>",
    ],
    "start": ["<opening>[ <aside>|] <first_song>"],
}

RULES = {**WORDS, **OPENINGS, **HELP, **PLOTS, **ENDINGS, **STORY}
