"""llama-server, as ``xllamacpp`` brings it, in a process of its own: ``real_llama_server.py MODEL KEY``.

It prints its address when it has loaded the model, and ends with its standard input.
"""

import sys

import xllamacpp

if __name__ == "__main__":
    params = xllamacpp.CommonParams()
    params.model.path, key = sys.argv[1:]
    params.model_alias = {"tiny"}
    params.api_keys = [key]
    params.n_ctx = 2048
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.n_gpu_layers = 0
    params.fit_params = False
    params.port = 0
    # A model of random weights may repeat half a character for ever, of which no server sends a piece.
    letters = xllamacpp.common_grammar_type.COMMON_GRAMMAR_TYPE_USER
    params.sampling.grammar = xllamacpp.CommonGrammar(letters, "root ::= [a-z]*")
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
