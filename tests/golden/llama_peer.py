"""Runs llama.cpp (PyPI llama-cpp-python) for the recording scripts. The tests do not need it."""

import ctypes
import sys

import gguf
import llama_cpp
import numpy

F32, F16 = 0, 1  # ggml's type numbers, for the KV cache


class Peer:
    """One model in one context: two threads, no flash attention, batches of up to 512 rows."""

    def __init__(self, path, kv_type, context=1024):
        # Kept in a variable: llama.cpp keeps the pointer, ctypes would free the trampoline.
        self.log = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self.log, ctypes.c_void_p())
        self.model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params()
        )
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary_size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = context
        parameters.n_batch = context
        parameters.n_ubatch = 512
        parameters.n_threads = parameters.n_threads_batch = 2
        parameters.flash_attn_type = 0
        parameters.type_k = parameters.type_v = kv_type
        self.context = llama_cpp.llama_init_from_model(self.model, parameters)
        self.batch = llama_cpp.llama_batch_init(context, 0, 1)

    def tokenize(self, text, parse_special):
        data = text.encode()
        ids = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(
            self.vocabulary, data, len(data), ids, len(ids), True, parse_special
        )
        assert count >= 0
        return list(ids[:count])

    def is_end(self, token):
        return bool(llama_cpp.llama_vocab_is_eog(self.vocabulary, token))

    def adds_bos(self):
        return bool(llama_cpp.llama_vocab_get_add_bos(self.vocabulary))

    def bos(self):
        return llama_cpp.llama_vocab_bos(self.vocabulary)

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def feed(self, tokens, position, wanted):
        """Log-probabilities [len(wanted)][vocabulary], f64, of the rows `wanted` of one batch."""
        self.batch.n_tokens = len(tokens)
        for row, token in enumerate(tokens):
            self.batch.token[row] = token
            self.batch.pos[row] = position + row
            self.batch.n_seq_id[row] = 1
            self.batch.seq_id[row][0] = 0
            self.batch.logits[row] = row in wanted
        assert llama_cpp.llama_decode(self.context, self.batch) == 0
        logits = numpy.stack([
            numpy.ctypeslib.as_array(
                llama_cpp.llama_get_logits_ith(self.context, row), shape=(self.vocabulary_size,)
            )
            for row in wanted
        ])
        return log_softmax(logits)


def log_softmax(logits):
    shifted = logits.astype(numpy.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=-1, keepdims=True))


def write_dequantised(source, target):
    """The same model with every weight as the f32 that its quantised block stands for."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value_type = field.types[0]
        element_type = field.types[-1] if value_type == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), value_type, sub_type=element_type)
    for tensor in reader.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, values.astype(numpy.float32).reshape(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
