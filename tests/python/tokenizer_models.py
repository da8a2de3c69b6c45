"""What the tokenizer tests share: random texts, GGUF files made from other tokenizers, the driver."""

import base64
import json
import random
import struct
import subprocess
from pathlib import Path

import gguf

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
ADD_SPECIAL, PARSE_SPECIAL, SHOW_SPECIAL, IDS = 1, 2, 4, 8


class Encoded:
    def __init__(self, ids, text, pieces):
        self.ids = ids  # token ids
        self.text = text  # what streaming detokenization made of them, str
        self.pieces = pieces  # the tokens' own bytes, joined


class Driver:
    """Runs texts through the tokenizer of a GGUF file (tests/tools/tokenize_texts.c)."""

    def __init__(self, program, model):
        self.command = [program, model]

    def run(self, texts, flags=0):
        texts = [text if isinstance(text, bytes) else text.encode() for text in texts]
        request = b"".join(struct.pack("<II", flags, len(text)) + text for text in texts)
        result = subprocess.run(self.command, input=request, capture_output=True, check=False)
        assert result.returncode == 0, f"{self.command}: {result.returncode} {result.stderr.decode()}"
        answers, at = [], 0
        for _ in texts:
            (count,) = struct.unpack_from("<I", result.stdout, at)
            ids = list(struct.unpack_from(f"<{count}i", result.stdout, at + 4))
            at += 4 + 4 * count
            blobs = []
            for _ in range(2):
                (length,) = struct.unpack_from("<I", result.stdout, at)
                blobs.append(result.stdout[at + 4 : at + 4 + length])
                at += 4 + length
            answers.append(Encoded(ids, blobs[0].decode(), blobs[1]))
        assert at == len(result.stdout)
        return answers

    def detokenize(self, id_lists, flags=0):
        return self.run([struct.pack(f"<{len(ids)}i", *ids) for ids in id_lists], flags | IDS)

    def refusal(self):
        """The message with which the model is refused."""
        result = subprocess.run(self.command, input=b"", capture_output=True, check=False)
        assert result.returncode == 1, f"the model was not refused: {result}"
        return result.stderr.decode()


def assert_same_ids(texts, answers, expected):
    """All ids agree; the message shows the first few that do not."""
    wrong = [(text, answer.ids, list(ids)) for text, answer, ids in zip(texts, answers, expected, strict=True)
             if answer.ids != list(ids)]
    shown = "\n".join(f"  {text!r}\n    expected {ids}\n    came     {came}" for text, came, ids in wrong[:5])
    assert not wrong, f"{len(wrong)} of {len(texts)} texts differ:\n{shown}"


# Random texts --------------------------------------------------------------------------------------

# Where writing systems, digits, marks, spaces, symbols and emoji live; the last row is everything.
BLOCKS = [
    (0x20, 0x7E), (0x20, 0x7E), (0x20, 0x7E), (0x00, 0x1F), (0x80, 0x17F), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x4FF), (0x530, 0x5FF), (0x600, 0x6FF), (0x900, 0xDFF), (0xE00, 0xFFF), (0x1100, 0x11FF),
    (0x1680, 0x180F), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x2BFF),
    (0x2E80, 0x312F), (0x3400, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7AF), (0xE000, 0xF8FF),
    (0xF900, 0xFFFF), (0x10000, 0x107FF), (0x1D400, 0x1D7FF), (0x1F000, 0x1FAFF), (0x20000, 0x3FFFF),
    (0, 0x10FFFF),
]
# What pre-tokenizers trip over: contractions of any case, digit groups, runs of spaces and line ends.
FRAGMENTS = [
    " ", "  ", "   ", "\n", "\r\n", "\n\n", "\t", " \n", "\n ", "\u00a0", "\u3000", "\u0085", "\u180e", "\u2028",
    "'s", "'S", "'ll", "'LL", "'Re", "'VE", "'t", "'m", "'d", "'\u017f", "I'm", "don't", "1", "12", "123", "1234567",
    "\u0660\u0661", "\u00bd", "\u2167", "Hello", "HELLO", "helloWorld", "the", " the", " a", "_", "__init__", "...",
    "!?", "//", "\\n", "</s>", "<s>", "[INST]", "<|im_end|>", "\u2581", "\u2581the", "\u0120", "e\u0301", "\u00e9",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\ufe0f", "\u0915\u094d\u0937", "\u1112\u1161\u11ab", "\ufeff", "\0",
]


def random_text(source):
    parts = []
    for _ in range(source.randint(1, 24)):
        if source.random() < 0.45:
            parts.append(source.choice(FRAGMENTS))
            continue
        low, high = source.choice(BLOCKS)
        points = (source.randint(low, high) for _ in range(source.randint(1, 6)))
        parts.append("".join(chr(point) for point in points if not 0xD800 <= point <= 0xDFFF))
    return "".join(parts)


def random_texts(count, seed):
    source = random.Random(seed)
    return [random_text(source) for _ in range(count)]


PLAIN_TEXTS = [
    "", " ", "  ", "\n", "a", " a", "a ", "  a  b  ", "Hello, world!", "The quick brown fox jumps over the lazy dog.",
    "def f(x):\n    return x ** 2  # \u00b2\n", "{\"key\": [1, 2.5, null, \"v\\u00e9\"]}", "1234567890 3.14159 1e-9 0xFF",
    "L'\u00e9t\u00e9 \u00e0 No\u00ebl, \u00e7a va ? \u00ab Oui \u00bb", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!",
    "\u6211\u7231\u5317\u4eac\u5929\u5b89\u95e8\u3002", "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c", "\uc548\ub155\ud558\uc138\uc694",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u0939\u093f\u0928\u094d\u0926\u0940 \u092a\u093e\u0920",
    "\U0001f600\U0001f680 ok \U0001f1eb\U0001f1f7", "a" * 300, " " * 100, "\t\t\tx", "=" * 80, "\U0010ffff\U000e0001",
    "[INST] not a control token [/INST]</s><s>", "mixed\r\nline\rends\n\n\n", "\u00bd\u2153 \u2460 \u2167 \u0e53",
]


# GGUF files ----------------------------------------------------------------------------------------


def stand_ins():
    """GPT-2's alphabet: byte → the character that stands for it in a vocabulary."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in shown}
    hidden = (byte for byte in range(256) if byte not in alphabet)
    alphabet.update((byte, chr(0x100 + number)) for number, byte in enumerate(hidden))
    return alphabet


def write_vocabulary(path, model, tokens, types, *, pre=None, scores=None, merges=None, **keys):
    """A GGUF file with a tokenizer and nothing else. Further keys are below tokenizer.ggml."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    if scores is not None:
        writer.add_token_scores(scores)
    if merges is not None:
        writer.add_token_merges(merges)
    for key, value in keys.items():
        name = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        else:
            writer.add_uint32(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def from_sentencepiece(path, processor, **keys):
    """As GGUF converters write a SentencePiece model. User-defined tokens are told by the caller."""
    user_defined = keys.pop("user_defined", ())
    types = []
    pieces = [processor.id_to_piece(number) for number in range(processor.vocab_size())]
    tokens = [piece.replace("\u2581", " ") if piece in user_defined else piece for piece in pieces]
    for number in range(processor.vocab_size()):
        types.append(
            UNKNOWN if processor.is_unknown(number)
            else CONTROL if processor.is_control(number)
            else BYTE if processor.is_byte(number)
            else UNUSED if processor.is_unused(number)
            else USER_DEFINED if processor.id_to_piece(number) in user_defined
            else NORMAL
        )
    return write_vocabulary(
        path, "llama", tokens, types, scores=[processor.get_score(number) for number in range(len(tokens))],
        bos_token_id=processor.bos_id(), eos_token_id=processor.eos_id(), unknown_token_id=processor.unk_id(), **keys,
    )


def merges_of_ranks(ranks):
    """Every way a token can be put together from two tokens of lower rank, in the order of ranks."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        splits = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        merges += sorted((pair for pair in splits if pair[0] in ranks and pair[1] in ranks),
                         key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges


def from_tekken(path, tekken_json, special_texts):
    """As GGUF converters write a tekken.json: special tokens first, then tokens in order of rank."""
    content = json.loads(Path(tekken_json).read_text(encoding="utf-8"))
    special_count = content["config"]["default_num_special_tokens"]
    kept = content["config"]["default_vocab_size"] - special_count
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in content["vocab"][:kept]}
    alphabet = stand_ins()

    def spell(token):
        return "".join(alphabet[byte] for byte in token)

    specials = list(special_texts) + [f"<SPECIAL_{number}>" for number in range(len(special_texts), special_count)]
    tokens = specials + [spell(token) for token in sorted(ranks, key=ranks.get)]
    merges = [f"{spell(left)} {spell(right)}" for left, right in merges_of_ranks(ranks)]
    return write_vocabulary(
        path, "gpt2", tokens, [CONTROL] * special_count + [NORMAL] * kept, pre="tekken", merges=merges,
        bos_token_id=1, eos_token_id=2, unknown_token_id=0,
    )


SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


def read_metadata(path):
    """The keys of a GGUF file (version 3): the gguf package reads vocabularies too slowly for tests."""
    data = Path(path).read_bytes()
    (count,) = struct.unpack_from("<Q", data, 16)
    at = 24

    def text():
        nonlocal at
        (length,) = struct.unpack_from("<Q", data, at)
        at += 8 + length
        return data[at - length : at].decode()

    def scalar(kind):
        nonlocal at
        if kind == 8:
            return text()
        (value,) = struct.unpack_from(SCALARS[kind], data, at)
        at += struct.calcsize(SCALARS[kind])
        return value

    metadata = {}
    for _ in range(count):
        key = text()
        kind = scalar(4)
        if kind == 9:
            element, length = scalar(4), scalar(10)
            metadata[key] = [scalar(element) for _ in range(length)]
        else:
            metadata[key] = scalar(kind)
    return metadata
