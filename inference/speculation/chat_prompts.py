"""What the drafter's training asks the model, and the 40 prompts that it never asks: those the drafter is judged by.

Training prompts are templates filled with topics. Their breadth matters more than their wit: each answer is a few
hundred places at which the drafter can see what the model would say. ``HELD_OUT`` shares no topic with them.
"""

from __future__ import annotations

import random
import re

TEMPLATES: dict[str, list[str]] = {
    "dish": [
        "How do I make {}?",
        "Write a short recipe for {}.",
        "What ingredients do I need for {}?",
        "What goes well with {}?",
        "Where does {} come from?",
        "Give me three tips for cooking better {}.",
        "Can I make {} without an oven?",
        "Describe the taste of {} to someone who has never tried it.",
        "My {} always turns out badly. What am I doing wrong?",
        "Plan a dinner for four people around {}.",
    ],
    "animal": [
        "What do {} eat?",
        "Tell me three facts about {}.",
        "Where do {} live?",
        "Write a short story about {}.",
        "How do {} protect themselves from danger?",
        "How long do {} live, and why?",
        "Explain to a child how {} raise their young.",
        "Write a poem about {}.",
        "Are {} intelligent?",
        "What is the difference between {} and their closest relatives?",
    ],
    "place": [
        "What should I see in {}?",
        "Plan a three-day trip to {}.",
        "What is {} famous for?",
        "Tell me about the history of {}.",
        "When is the best time of the year to visit {}?",
        "Describe {} in one paragraph.",
        "What language do people speak in {}?",
        "What food is typical for {}?",
        "Write a postcard from {} to my sister.",
        "How do people get around in {}?",
    ],
    "thing": [
        "Who invented the {}?",
        "How does a {} work?",
        "What should I look for when I buy a {}?",
        "Explain what a {} is to a five-year-old.",
        "Write an advertisement for a {}.",
        "How do I repair a broken {}?",
        "List the main parts of a {}.",
        "How has the {} changed over the last hundred years?",
        "What can I use instead of a {}?",
        "Write a short dialogue between two people who both want the same {}.",
    ],
    "idea": [
        "What is {}?",
        "Explain {} in simple terms.",
        "Why is {} important?",
        "Give me an example of {}.",
        "What are common misunderstandings about {}?",
        "Write a short introduction to {} for students.",
        "How did people discover {}?",
        "Summarize {} in three sentences.",
        "What questions should I ask to understand {} better?",
        "Write a short quiz about {} with answers.",
        "How does {} affect our daily lives?",
        "Compare {} with something from everyday life.",
    ],
    "goal": [
        "How can I {}?",
        "Give me five tips on how to {}.",
        "What is the first step if I want to {}?",
        "I want to {}, but I have no time. What should I do?",
        "Write a plan to {} in one month.",
        "What mistakes should I avoid when I try to {}?",
        "Why do many people fail to {}?",
        "Write an encouraging message to a friend who wants to {}.",
        "Is it worth it to {}?",
        "List the advantages and disadvantages of trying to {}.",
    ],
    "program": [
        "Write a Python function that {}.",
        "How do I write a program that {}?",
        "Explain how a program that {} works.",
        "Write a JavaScript function that {}.",
        "Show me a short example of Python code that {}.",
        "Write a test for a function that {}.",
    ],
    "person": [
        "Write a short story about {}.",
        "Write a polite email to {}.",
        "Describe a normal day in the life of {}.",
        "What should I ask {} when I meet one?",
        "Write a poem for {}.",
        "What would {} say about the weather?",
        "Write a job description for {}.",
        "Write a conversation between {} and a curious child.",
        "What skills does {} need?",
        "Write a thank-you note to {}.",
    ],
}

TOPICS: dict[str, str] = {
    "dish": """pancakes|fried rice|lentil stew|apple pie|mushroom risotto|chicken curry|guacamole|scrambled eggs|
vegetable lasagna|banana bread|potato salad|beef tacos|spring rolls|hummus|chocolate chip cookies|garlic bread|
onion rings|fish and chips|cheesecake|stuffed peppers|noodle salad|oatmeal|french toast|meatballs|roast chicken|
pumpkin muffins|grilled cheese|iced tea|lemonade|sushi|falafel|gnocchi|coleslaw|shepherd's pie|bean burritos|
peanut sauce|strawberry jam|rice pudding|carrot cake|pea soup|caesar salad|baked salmon|omelettes|waffles|chili|
dumplings|paella|pesto|brownies|kimchi""",
    "animal": """elephants|honeybees|octopuses|penguins|wolves|house cats|crocodiles|hummingbirds|sharks|ants|bats|
horses|owls|frogs|dolphins|spiders|kangaroos|giraffes|turtles|foxes|rabbits|eagles|salmon|bears|squirrels|snakes|
whales|butterflies|monkeys|camels|hedgehogs|parrots|goats|lions|otters|beavers|jellyfish|crows|chickens|deer|
polar bears|moles""",
    "place": """Paris|Japan|the Grand Canyon|Egypt|New Zealand|Rome|Istanbul|Brazil|the Sahara|Iceland|Kyoto|
New York|Morocco|Vienna|the Amazon rainforest|Scotland|Bangkok|Peru|Lisbon|Antarctica|India|San Francisco|Kenya|
Prague|Hawaii|Mexico City|the Alps|Vietnam|Berlin|Greece|Cape Town|Canada|Barcelona|Norway|Singapore|Cuba|Dublin|
Nepal|Sydney|Amsterdam""",
    "thing": """bicycle|telescope|refrigerator|violin|camera|compass|clock|washing machine|pencil|sailing boat|
microscope|light bulb|steam engine|typewriter|parachute|battery|zipper|thermometer|piano|helicopter|calculator|tent|
sewing machine|wind turbine|bridge|radio|guitar|lawn mower|vacuum cleaner|drone|backpack|electric car|printer|
mirror|solar panel|toaster|kite|hammer|elevator|smartphone|hot air balloon|lock|robot""",
    "idea": """photosynthesis|gravity|inflation|democracy|evolution|the water cycle|electricity|machine learning|
supply and demand|the Roman Empire|plate tectonics|the immune system|probability|the French Revolution|black holes|
friendship|the scientific method|recursion|the internet|natural selection|poetry|the Renaissance|human rights|
the periodic table|nuclear energy|sleep|cryptography|the theory of relativity|globalization|meditation|
the solar system|compound interest|a balanced diet|magnetism|the Industrial Revolution|DNA|recycling|music theory|
prime numbers|fractions|the Pythagorean theorem|volcanoes|earthquakes|the moon landing|open source software|
impressionism|stoicism|teamwork|creativity|the human heart|digestion|sound waves|ocean currents|rainbows|algorithms|
databases|operating systems|neural networks|blockchain|ancient Greece|the Silk Road|the Cold War|justice|happiness""",
    "goal": """learn a new language|sleep better|save money|get fit|write a novel|start a small business|
make new friends|learn to swim|stop procrastinating|prepare for a job interview|study for an exam|
grow vegetables at home|become a better listener|reduce stress|run a marathon|learn to play the guitar|
organize my desk|give a good speech|read more books|remember names|lose weight|find a new hobby|write a good resume|
stay focused at work|train a puppy|plan a birthday party|waste less food|learn to draw|improve my handwriting|
ask for a raise|move to another city|take better photographs|cook at home more often|teach children math|
build a website|drink more water|get over a cold|apologize to a friend|choose a career|buy a house|
learn programming|wake up early""",
    "program": """adds two numbers|reverses a string|checks whether a number is prime|sorts a list|
counts the words in a text|finds the largest number in a list|computes the factorial of a number|
removes duplicates from a list|converts Celsius to Fahrenheit|checks whether a word is a palindrome|
reads a file line by line|computes the Fibonacci sequence|merges two dictionaries|generates a random password|
counts vowels in a string|finds the average of a list of numbers|searches a sorted list|draws a triangle of stars|
computes the area of a circle|downloads a web page|parses a date|checks whether two words are anagrams|
flattens a nested list|rolls two dice""",
    "person": """a firefighter|a teacher|an astronaut|my neighbor|a lighthouse keeper|a young doctor|
a retired sailor|a librarian|a gardener|my boss|a baker|a detective|a shy musician|a bus driver|
a king without a kingdom|a farmer|a painter|a nurse|a software engineer|my grandmother|a soccer coach|
a mountain guide|a journalist|a time traveler|a night watchman|a judge|a pilot|a fisherman|a new colleague|
a customer|a landlord|a clockmaker|a dancer|a scientist|a pirate""",
}

PLAIN = """Hello!|Hi, how are you?|Who are you?|What can you do?|Tell me a joke.|Tell me a riddle.|Good morning!|
Thank you for your help.|What is 7 times 8?|What is 15 + 27?|What is 100 minus 36?|What is half of 90?|
Count from one to ten.|List the days of the week.|List the months of the year.|List the planets.|Name five colors.|
Name three countries in Africa.|Name ten fruits.|What is the capital of Italy?|What is the capital of Australia?|
What is the capital of Spain?|What is the largest ocean?|What is the longest river in the world?|
How many continents are there?|Translate 'good night' into French.|Translate 'where is the station?' into Spanish.|
Translate 'thank you' into German.|Write a haiku about autumn.|Write a limerick about a cow.|Write a love letter.|
Write a birthday wish for my brother.|Write an apology for being late.|Write a short speech for a wedding.|
Write a slogan for a coffee shop.|Correct this sentence: 'He go to school yesterday.'|
Correct this sentence: 'She don't like apples.'|Rewrite this politely: 'Give me the report now.'|
Rewrite this in the past tense: 'I walk to the park.'|What is the opposite of 'brave'?|
Give me a synonym for 'happy'.|Give me a synonym for 'big'.|Use the word 'curious' in a sentence.|
What does 'to break the ice' mean?|What does 'once in a blue moon' mean?|Is a whale a fish?|Is zero an even number?|
If I have three apples and eat one, how many are left?|
A train travels 60 miles in one hour. How far does it go in three hours?|
Which is heavier, a pound of iron or a pound of feathers?|Why do we yawn?|Why is grass green?|Why do leaves fall?|
How do airplanes fly?|What causes the tides?|Why do cats purr?|How is glass made?|How is paper made?|
Invent a name for a bookshop.|Invent a superhero.|Invent a holiday.|Describe your perfect day.|
Continue the story: 'The door was open.'|Continue the story: 'It was raining when the letter came.'|
Start a ghost story.|Write the beginning of a science fiction novel.|
Make a packing list for a weekend at the beach.|Make a to-do list for moving house.|
Make a table of three dogs and their sizes."""

PREFIXES = [""] * 8 + [
    "Please be brief. ",
    "In two sentences: ",
    "I am ten years old. ",
    "Quick question: ",
    "Please help me. ",
]

HELD_OUT = [
    "Give me a simple recipe for tomato soup.",
    "Why is the sky blue?",
    "What makes bread dough rise?",
    "Tell me about the planet Saturn.",
    "Explain how a rainy day in a small harbour town feels.",
    "What are the rules of chess, briefly?",
    "Write a C program that prints the numbers from one to twenty.",
    "How do snails move?",
    "Which countries border Switzerland?",
    "Write a letter to my future self.",
    "What happened in the year 1492?",
    "How do I remove a coffee stain from a white shirt?",
    "Explain the difference between weather and climate.",
    "Give me a name and a back story for a dragon who is afraid of fire.",
    "What is the square root of 144?",
    "Describe the smell of an old bookshop.",
    "How does a vaccine differ from an antibiotic?",
    "Write four lines about a candle in a window.",
    "What should I pack for a week of hiking in the Pyrenees?",
    "Explain what a black market is.",
    "How do submarine cables carry phone calls?",
    "Who wrote Hamlet, and what is it about?",
    "Suggest a weekly cleaning schedule for a shared flat.",
    "What does a sommelier do?",
    "Write a SQL query that finds the ten oldest customers.",
    "Why do onions make us cry?",
    "Turn this into a headline: a cat has been elected mayor of a village.",
    "How many minutes are there in a week?",
    "What is the plot of a typical western film?",
    "Explain the word 'serendipity' and use it twice.",
    "How are pearls formed inside oysters?",
    "Give arguments for and against school uniforms.",
    "What is the best way to apologize to an angry tram conductor?",
    "Tell me how tea is grown and processed.",
    "Write a bedtime story about a snowplough named Ferdinand.",
    "What are the stages of grief?",
    "How do I tie a bow tie?",
    "List some inventions of the Song dynasty.",
    "Why do some stars look red and others blue?",
    "Write a product review of an umbrella that sings.",
]


def training_prompts(seed: int) -> list[str]:
    """All of our prompts, in an order of their own for each ``seed``; none resembles one of ``HELD_OUT``."""
    prompts = [line.strip() for line in PLAIN.replace("\n", "").split("|")]
    for kind, templates in TEMPLATES.items():
        prompts += [template.format(topic) for template in templates for topic in _TOPICS[kind]]
    draw = random.Random(seed)
    draw.shuffle(prompts)
    unlike = [prompt for prompt in dict.fromkeys(prompts) if not resembles_held_out(prompt)]
    return [draw.choice(PREFIXES) + prompt for prompt in unlike]


def other_topics(text: str, count: int, draw: random.Random) -> list[str]:
    """Up to ``count`` versions of a templated prompt and its answer, each on another topic of the same kind; none where
    ``text`` is on none of ours."""
    kinds = [(topic, kind) for kind, topics in _TOPICS.items() for topic in topics if topic in text]
    if not kinds:
        return []
    topic, kind = max(kinds, key=lambda pair: (text.count(pair[0]) > 1, len(pair[0])))
    others = [other for other in _TOPICS[kind] if other != topic]
    swapped = []
    for other in draw.sample(others, count):
        pairs = [(topic, other), (topic.capitalize(), other.capitalize())]
        if topic.endswith("s") and other.endswith("s"):
            pairs += [(old[:-1], new[:-1]) for old, new in pairs]
        version = text
        for old, new in pairs:
            version = re.sub(rf"\b{re.escape(old)}\b", new, version)
        if version != text and not resembles_held_out(version.partition("\n")[0]):
            swapped.append(version)
    return swapped


def resembles_held_out(prompt: str) -> bool:
    """Whether ``prompt`` has four words in a row, or all of its words, in common with a held-out prompt."""
    words = _words(prompt)
    if not words:
        return True
    return any(_runs(words) & theirs or words == own for own, theirs in _HELD_OUT)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _runs(words: list[str], length: int = 4) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


_TOPICS = {kind: topics.replace("\n", "").split("|") for kind, topics in TOPICS.items()}
_HELD_OUT = [(_words(prompt), _runs(_words(prompt))) for prompt in HELD_OUT]
