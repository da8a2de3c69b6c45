"""llama.cpp's models/ folder: vocabularies with strings and ids, and the chat templates of many models.

It lies in the source distribution of llama-cpp-python on PyPI (76 MB) and nowhere smaller: see pypi_sources.
"""

from pypi_sources import source_folder

PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"


def models_folder(source_root):
    """The folder with ggml-vocab-*.gguf and templates/."""
    inner = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/models/"
    return source_folder(source_root, PACKAGE, VERSION, SHA256, inner, f"llama.cpp-models-{VERSION}")
