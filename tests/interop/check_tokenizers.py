"""Compares cog's byte-level BPE with Hugging Face `tokenizers`: the merges they learn, the ids they give, the files
they write, each read by the other.

    python3 check_tokenizers.py INTEROP             all of it; INTEROP is the program built from interop.cpp
    python3 check_tokenizers.py --golden FOLDER     writes the reference values of tests/io_tokenizer.cpp
Exits with 77 where the package is missing.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

try:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
except ImportError:
    print("skipped: the Python package `tokenizers` is not installed")
    sys.exit(77)

END = "<|endoftext|>"

# What learning sees in the golden test: a little of everything that the pattern tells apart.
TEXT = """\
The attention of a token may be negative: it can take away what another has added. It's what we've called
"signed attention", and they'll say that you're right, I'm sure; he'd not say so, she's certain, don't ask.
for (int i = 0; i < 10; ++i) { sum += x[i] * y[i]; }    // 4 spaces before, two after  \n\tand a tab\n
Τα σημεία στίξης, οι τόνοι και τα πνεύματα. Съешь же ещё этих мягких французских булок, да выпей чаю.
Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Le cœur déçu mais l'âme plutôt naïve.
注意力可以是负的。負の重みを持つ注意。주의의 가중치는 음수일 수 있다. १२३ ४५६ ٣٤٥ Ⅷ ½ x² 10³
The quick brown fox 🦊 jumps over the lazy dog 🐕, and the cat 🐈‍⬛ watches 👩‍👩‍👧‍👦 in 🇫🇷.
the token the tokens the attention the attentions of the weights of the weight: 1 12 123 1234 12345 2024 2025
"""

CASES = [
    "", " ", "  ", "\n", "\n\n", " \n ", "\t", "a", " a", "a ", "a  ", "  a", "   a b", "a\n\nb", "a \n b", "tail   ", "tail\n",
    "It's we've they'll you're I'm he'd don't", "IT'S WE'VE", "'s 's''s", " 's", "'tis", "l'âme d'été", "''''", "x'y",
    "the attention of the weights", "unseen wörds: Ångström naïve", "123 4567 ٣٤٥ Ⅷ½²", "a1b2 c3", "1a 2b",
    "e\u0301 n\u0303 o\u0308\u0304 \u0301", "\u0301\u0301", "한국어 주의", "注意力，可以是负的。", "日本語のテキスト", "עברית العربية",
    "🦊🐕 🐈‍⬛", "👩‍👩‍👧‍👦 🇫🇷", "\ufeffbom", "zero\u200bwidth\u200djoin", "\u00a0nbsp\u00a0 x", "\u3000wide\u2003em \u2028line\u0085",
    "\u0000null\u0001", "C:\\path\\to \"quoted\" <tag attr='1'/>", "for (int i=0;i<10;++i){x[i]+=1;}\n\treturn  x;\n", "---===---   ...",
    END, "a" + END + "b", " " + END + " ", END + END, "<|endoftext", "|>" + END[1:], "text " + END + "\n's", "a  " + END,
    "𝒜𝓁𝓅𝒽𝒶 𝟙𝟚𝟛 𐍈", "\U000e0041\U0010ffff", "ǅ ʰ ª º ꙮ", "_under_score_ CamelCase", "ﬁ ﬂ Ⅻ ㊿", "x" * 70, "ab" * 40, " " * 33 + "x", "é" * 30,
]


def hugging_face(text, vocab_size):
    """A tokenizer as cog-lm would learn it."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=2, special_tokens=[END], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(text.split(END), trainer)
    return t


def ids(t, text):
    return t.encode(text, add_special_tokens=False).ids


def random_ids(t, count, seed):
    draw = random.Random(seed)
    return [[draw.randrange(t.get_vocab_size()) for _ in range(draw.randrange(12))] for _ in range(count)]


def golden(folder):
    folder.mkdir(parents=True, exist_ok=True)
    t = hugging_face(TEXT, 420)
    t.save(str(folder / "tokenizer.json"), pretty=False)
    sequences = random_ids(t, 40, 5)
    reference = {
        "text": TEXT,
        "encoded": [[case, ids(t, case)] for case in CASES],
        "decoded": [[s, t.decode(s, skip_special_tokens=False)] for s in sequences],
    }
    (folder / "reference.json").write_text(json.dumps(reference, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")


def random_texts(seed):
    draw = random.Random(seed)
    pool = [chr(c) for c in range(32, 127)] * 3 + list("\n\t\r\u00a0\u3000\u2003    ''''") * 8
    pool += ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", " the", " a", END, END[:-1]] * 4
    pool += [chr(draw.randrange(0x80, 0x3000)) for _ in range(300)] + [chr(c) for c in range(0x4e00, 0x4e40)]
    pool += [chr(draw.randrange(0x10000, 0x20000)) for _ in range(100)] + ["👩‍👩‍👧", "🇫🇷", "e\u0301", "n\u0303", "\u200d", "\ufeff", "\u0000"]
    texts = ["".join(draw.choice(pool) for _ in range(draw.randrange(80))) for _ in range(5000)]
    # Every character there is, beside a letter, a number, spaces and punctuation.
    texts += [f"{c}a{c}1{c} {c}{c}." for c in map(chr, range(0x110000)) if not "\ud800" <= c <= "\udfff"]
    return texts


class Check:
    def __init__(self, program, folder):
        self.program, self.folder, self.failures = program, pathlib.Path(folder), 0

    def run(self, *arguments):
        subprocess.run([self.program, *map(str, arguments)], check=True)

    def through(self, command, tokenizer, values):
        source, result = self.folder / "in.json", self.folder / "out.json"
        source.write_text(json.dumps(values), "utf-8")
        self.run(command, tokenizer, source, result)
        return json.loads(result.read_text("utf-8"))

    def same(self, what, inputs, expected, got):
        wrong = [(i, e, g) for i, e, g in zip(inputs, expected, got, strict=True) if e != g]
        print(f"{what}: {len(inputs) - len(wrong)} of {len(inputs)} equal")
        for entry in wrong[:3]:
            print("  input %r\n  expected %r\n  got %r" % entry)
        self.failures += bool(wrong)

    def tokenizer(self, what, path, texts):
        t = Tokenizer.from_file(str(path))
        self.same(f"{what}, ids of texts", texts, [ids(t, x) for x in texts], self.through("encode", path, texts))
        sequences = random_ids(t, 3000, 7)
        expected = [t.decode(s, skip_special_tokens=False) for s in sequences]
        self.same(f"{what}, texts of ids", sequences, expected, self.through("decode", path, sequences))


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--golden":
        return golden(pathlib.Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as folder:
        check = Check(sys.argv[1], folder)
        texts = CASES + random_texts(1)
        corpus = TEXT + pathlib.Path(__file__).read_text("utf-8") + END.join(texts[:3000])
        (check.folder / "corpus.txt").write_bytes(corpus.encode())

        theirs = hugging_face(corpus, 2000)
        theirs.save(str(check.folder / "theirs.json"))
        check.run("train", check.folder / "corpus.txt", 2000, check.folder / "ours.json")
        ours = Tokenizer.from_file(str(check.folder / "ours.json"))
        model = lambda t: json.loads(t.to_str())["model"]
        check.same("learnt merges", range(len(model(theirs)["merges"])), model(theirs)["merges"], model(ours)["merges"])
        check.same("vocabulary", [0], [theirs.get_vocab()], [ours.get_vocab()])

        check.tokenizer("their file", check.folder / "theirs.json", texts)
        check.tokenizer("our file", check.folder / "ours.json", texts[:8000])
        ours.save(str(check.folder / "again.json"))
        check.tokenizer("our file written by them", check.folder / "again.json", texts[:8000])
        check.run("bytes", check.folder / "bytes.json")
        check.tokenizer("bytes", check.folder / "bytes.json", texts[:8000])
        first = lambda x: sum(([256 if i else None, *part.encode()] for i, part in enumerate(x.split(END))), [])[1:]
        check.same("bytes are their own ids", CASES, [first(x) for x in CASES],
                   check.through("encode", check.folder / "bytes.json", CASES))
        sys.exit(check.failures != 0)


main()
