-- The catalog's tables. Every table without "derived" in its comment is filled from the CSV file of the same name,
-- column for column; the types, keys and CHECKs here are what a row is judged by. Units are in the column names; where
-- a CSV's column lacks one, the comment beside it says it. Empty cells are NULL: unknown, never zero.

-- ── models and their files ──────────────────────────────────────────────────────────────────────────────────

CREATE TABLE models (
    model_id VARCHAR PRIMARY KEY CHECK (regexp_full_match(model_id, '[^/\s]+/[^/\s]+')),
    family VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    params_total BIGINT NOT NULL CHECK (params_total > 0),
    params_active BIGINT CHECK (params_active > 0),
    tier VARCHAR NOT NULL CHECK (tier IN ('Micro', 'Small', 'Medium', 'Large')),
    release_date VARCHAR CHECK (regexp_full_match(release_date, '20\d\d(-[01]\d(-[0-3]\d)?)?')),
    license VARCHAR,
    commercial_use VARCHAR CHECK (commercial_use IN ('yes', 'no', 'conditions')),
    context_max BIGINT CHECK (context_max > 0), -- tokens
    modalities VARCHAR NOT NULL,
    languages_note VARCHAR,
    architecture VARCHAR,
    n_layer INTEGER CHECK (n_layer > 0),
    n_embd INTEGER CHECK (n_embd > 0),
    n_head INTEGER CHECK (n_head > 0),
    n_head_kv INTEGER CHECK (n_head_kv >= 0),
    head_dim INTEGER CHECK (head_dim > 0),
    n_ff INTEGER CHECK (n_ff > 0),
    vocab_size INTEGER CHECK (vocab_size > 0),
    tied_embeddings BOOLEAN,
    ffn_gated BOOLEAN,
    n_expert INTEGER CHECK (n_expert > 0),
    n_expert_used INTEGER CHECK (n_expert_used > 0),
    n_ff_expert INTEGER CHECK (n_ff_expert > 0),
    sliding_window INTEGER CHECK (sliding_window > 0), -- tokens
    hybrid_notes VARCHAR,
    thinking VARCHAR CHECK (thinking IN ('yes', 'no', 'hybrid')),
    tool_calling VARCHAR CHECK (tool_calling IN ('yes', 'no')),
    gguf_repos VARCHAR, -- separated by ";"
    ollama_tag VARCHAR,
    mlx_repo VARCHAR, -- "{quantization}" stands for 4bit, 8bit or bf16
    onnx_foundry_local_alias VARCHAR,
    azure_catalog_id VARCHAR,
    params_note VARCHAR,
    rule_filled VARCHAR,
    source VARCHAR NOT NULL,
    license_id VARCHAR,
    role VARCHAR NOT NULL CHECK (role IN ('instruct', 'thinking', 'hybrid', 'code', 'base', 'vision', 'audio',
        'embedding', 'reranker', 'translation', 'diffusion', 'reward', 'guard')),
    base_model VARCHAR,
    base_model_source VARCHAR,
    superseded_by VARCHAR,
    superseded_source VARCHAR,
    context_native BIGINT CHECK (context_native > 0), -- tokens
    context_source VARCHAR,
    release_date_source VARCHAR,
    tool_calling_source VARCHAR,
    languages VARCHAR,
    languages_source VARCHAR,
    head_dim_note VARCHAR,
    n_head_kv_note VARCHAR,
    n_ff_note VARCHAR,
    sliding_window_note VARCHAR,
    architecture_note VARCHAR,
    review_note VARCHAR,
    params_text BIGINT CHECK (params_text > 0), -- without vision and audio towers
    params_text_source VARCHAR,
    CHECK (params_text <= params_total),
    CHECK (params_active <= params_total),
    CHECK (n_expert_used <= n_expert)
);

CREATE TABLE gguf_files (
    model_id VARCHAR,
    gguf_repo VARCHAR,
    file VARCHAR NOT NULL,
    quant VARCHAR,
    bytes BIGINT CHECK (bytes > 0),
    bytes_kind VARCHAR NOT NULL CHECK (bytes_kind IN ('exact', 'rounded', 'tensor_bytes', 'none')),
    size_reported VARCHAR, -- as its page prints it, unit included
    sha256 VARCHAR CHECK (regexp_full_match(sha256, '[0-9a-f]{64}')),
    bpw_vs_params DOUBLE CHECK (bpw_vs_params > 0), -- bits
    arch_group VARCHAR,
    source VARCHAR NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('model', 'mmproj', 'imatrix', 'split', 'draft', 'vocab')),
    catalog_model_id VARCHAR, -- the row of models.csv, also where model_id is a renamed or repackaged one
    quantization VARCHAR, -- the llama.cpp file type; empty where the repository mixed its own
    size_reported_unit VARCHAR CHECK (size_reported_unit IN ('GiB', 'MiB', 'bytes')),
    recipe VARCHAR CHECK (recipe IN ('standard', 'own', 'unknown')),
    recipe_reason VARCHAR,
    split_count INTEGER CHECK (split_count > 0),
    review_note VARCHAR,
    CHECK (bytes_kind <> 'exact' OR bytes IS NOT NULL)
);

-- What other places call a model.
CREATE TABLE model_aliases (
    alias VARCHAR PRIMARY KEY,
    model_id VARCHAR NOT NULL REFERENCES models (model_id),
    why VARCHAR NOT NULL
);

CREATE TABLE benchmarks (
    model_id VARCHAR NOT NULL, -- also models the catalog does not list: they place the benchmarks on one scale
    benchmark VARCHAR NOT NULL,
    score DOUBLE NOT NULL,
    metric_details VARCHAR,
    mode VARCHAR,
    evaluator VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    name_at_source VARCHAR,
    catalog_model_id VARCHAR, -- the row of models.csv, also where model_id is a renamed or repackaged one
    variant VARCHAR, -- how it was run: no-thinking, low, q8_0 …
    model_kind VARCHAR CHECK (model_kind IN ('base', 'instruct', 'thinking', 'encoder')),
    direction VARCHAR NOT NULL CHECK (direction IN ('higher', 'lower')),
    unit VARCHAR NOT NULL CHECK (unit IN ('percent', 'rank', 'elo', 'points')),
    scale_min DOUBLE,
    scale_max DOUBLE,
    duplicate VARCHAR CHECK (duplicate IN ('same', 'conflict', 'copy', 'repack')),
    review_note VARCHAR,
    CHECK (scale_min < scale_max),
    CHECK (unit <> 'percent' OR score BETWEEN -100 AND 100) -- correlations can be negative
);

-- What a benchmark measures; "pattern" is matched against its name, the first row that fits counts.
CREATE TABLE benchmark_types (
    benchmark VARCHAR, -- empty: known, and not used
    pattern VARCHAR PRIMARY KEY,
    capabilities VARCHAR, -- capability:weight, separated by ";"
    worst DOUBLE,
    best DOUBLE,
    reference BOOLEAN,
    why VARCHAR NOT NULL,
    CHECK (worst <> best)
);

-- ── quantization: types, and which tensor gets which ────────────────────────────────────────────────────────

CREATE TABLE quant_types (
    kind VARCHAR NOT NULL CHECK (kind IN ('tensor_type', 'file_mix', 'file_mix_nominal', 'ik_llama.cpp_only_type',
        'other_format')),
    name VARCHAR NOT NULL,
    block_size INTEGER CHECK (block_size > 0), -- weights
    bytes_per_block INTEGER CHECK (bytes_per_block > 0),
    bytes_per_tensor INTEGER CHECK (bytes_per_tensor >= 0), -- on top of the blocks
    gguf_type INTEGER CHECK (gguf_type >= 0), -- ggml's number for it
    scale_offsets VARCHAR,
    bits_per_weight DOUBLE CHECK (bits_per_weight > 0),
    bpw_llama31_8b DOUBLE CHECK (bpw_llama31_8b > 0), -- bits per weight of the whole file
    size_gib_llama31_8b DOUBLE CHECK (size_gib_llama31_8b > 0),
    ppl DOUBLE CHECK (ppl > 0), -- perplexity
    ppl_delta DOUBLE,
    kld_mean DOUBLE CHECK (kld_mean >= 0), -- nats
    rms_delta_p_pct DOUBLE CHECK (rms_delta_p_pct >= 0),
    same_top_p_pct DOUBLE CHECK (same_top_p_pct BETWEEN 0 AND 100),
    imatrix VARCHAR,
    measured_on VARCHAR,
    notes VARCHAR,
    source VARCHAR NOT NULL,
    CHECK (kind <> 'tensor_type' OR (block_size IS NOT NULL AND bytes_per_block IS NOT NULL))
);

-- Points of ability that each quantization costs: the fitted damages and coefficients, what they were fitted from,
-- and the types that are listed.
CREATE TABLE quant_loss (
    kind VARCHAR NOT NULL CHECK (kind IN ('type', 'coefficient')),
    name VARCHAR PRIMARY KEY,
    bits_per_weight DOUBLE CHECK (bits_per_weight > 0),
    value DOUBLE NOT NULL CHECK (value >= 0), -- of a type: nats per token at eight billion parameters
    log_standard_error DOUBLE CHECK (log_standard_error >= 0),
    rows INTEGER NOT NULL CHECK (rows >= 0),
    basis VARCHAR,
    CHECK (kind <> 'type' OR bits_per_weight IS NOT NULL)
);

CREATE TABLE quant_loss_types (
    quantization VARCHAR PRIMARY KEY,
    bits_per_weight DOUBLE NOT NULL CHECK (bits_per_weight > 0),
    same_as VARCHAR,
    why VARCHAR,
    source VARCHAR NOT NULL
);

CREATE TABLE quant_loss_evidence (
    model VARCHAR NOT NULL,
    params_total BIGINT NOT NULL CHECK (params_total > 0),
    quantization VARCHAR NOT NULL,
    metric VARCHAR NOT NULL CHECK (metric IN ('score', 'kld', 'perplexity')),
    value DOUBLE NOT NULL,
    baseline DOUBLE,
    chance DOUBLE,
    source VARCHAR NOT NULL,
    CHECK (metric = 'kld' OR baseline IS NOT NULL)
);

-- The type a model was trained for; it loses nothing at that type or above. Models without a row were trained whole.
CREATE TABLE native_quantizations (
    model_id VARCHAR PRIMARY KEY REFERENCES models (model_id),
    quantization VARCHAR NOT NULL REFERENCES quant_loss (name),
    source VARCHAR NOT NULL
);

CREATE TABLE file_mixes (
    file_type VARCHAR, -- empty: the rule holds for every file type
    tensor_kind VARCHAR NOT NULL,
    layers VARCHAR,
    "when" VARCHAR,
    tensor_type VARCHAR NOT NULL,
    gguf_file_type INTEGER CHECK (gguf_file_type >= 0),
    source VARCHAR NOT NULL
);

-- What an architecture id implies about a model's tensors; lists per layer are written value*count;value…
CREATE TABLE architecture_features (
    architecture VARCHAR PRIMARY KEY,
    mixer VARCHAR NOT NULL CHECK (mixer IN ('attention', 'mla', 'mla_expanded')),
    recurrent VARCHAR CHECK (recurrent IN ('shortconv', 'mamba2', 'mamba2_beside_attention', 'gated_delta')),
    norms VARCHAR NOT NULL,
    norm_bias BOOLEAN NOT NULL,
    qk_norm VARCHAR NOT NULL CHECK (qk_norm IN ('none', 'head', 'full')),
    qkv VARCHAR NOT NULL CHECK (qkv IN ('split', 'fused')),
    qkv_bias BOOLEAN NOT NULL,
    out_bias BOOLEAN NOT NULL,
    ffn VARCHAR NOT NULL CHECK (ffn IN ('gated', 'plain', 'fused')),
    ffn_bias BOOLEAN NOT NULL,
    experts VARCHAR NOT NULL CHECK (experts IN ('none', 'all', 'after_dense')),
    router_bias VARCHAR NOT NULL CHECK (router_bias IN ('no', 'selection', 'router')),
    expert_bias BOOLEAN NOT NULL,
    shared_experts VARCHAR NOT NULL CHECK (shared_experts IN ('none', 'plain', 'gated')),
    output VARCHAR NOT NULL CHECK (output IN ('either', 'tied', 'untied')),
    output_bias BOOLEAN NOT NULL,
    embedding_norm VARCHAR NOT NULL CHECK (embedding_norm IN ('no', 'final')),
    extras VARCHAR,
    window_layers VARCHAR,
    recurrent_layers VARCHAR,
    tokenizer VARCHAR NOT NULL,
    source VARCHAR NOT NULL
);

-- A model's own numbers where they differ from what models.csv and its architecture id imply.
CREATE TABLE architectures (
    model_id VARCHAR PRIMARY KEY REFERENCES models (model_id),
    architecture VARCHAR,
    n_layer INTEGER CHECK (n_layer > 0),
    n_embd INTEGER CHECK (n_embd > 0),
    n_head VARCHAR CHECK (regexp_full_match(n_head, '[0-9*;]+')),
    n_head_kv VARCHAR CHECK (regexp_full_match(n_head_kv, '[0-9*;]+')),
    head_dim VARCHAR CHECK (regexp_full_match(head_dim, '[0-9*;]+')),
    value_dim VARCHAR CHECK (regexp_full_match(value_dim, '[0-9*;]+')),
    n_ff VARCHAR CHECK (regexp_full_match(n_ff, '[0-9*;]+')),
    vocab_size INTEGER CHECK (vocab_size > 0),
    tied_embeddings BOOLEAN,
    n_expert INTEGER CHECK (n_expert > 0),
    n_expert_used INTEGER CHECK (n_expert_used > 0),
    n_ff_expert INTEGER CHECK (n_ff_expert > 0),
    n_ff_shared INTEGER CHECK (n_ff_shared > 0),
    n_dense_layers INTEGER CHECK (n_dense_layers >= 0),
    experts_fused BOOLEAN,
    sliding_window INTEGER CHECK (sliding_window > 0), -- tokens
    window_layers VARCHAR CHECK (regexp_full_match(window_layers, '[0-9*;]+')),
    recurrent_layers VARCHAR CHECK (regexp_full_match(recurrent_layers, '[0-9*;]+')),
    rope_dim INTEGER CHECK (rope_dim > 0),
    rope_factors VARCHAR CHECK (rope_factors IN ('freqs', 'long')),
    qkv_bias BOOLEAN,
    out_bias BOOLEAN,
    norm_bias BOOLEAN,
    qk_norm VARCHAR CHECK (qk_norm IN ('none', 'head', 'full')),
    qkv VARCHAR CHECK (qkv IN ('split', 'fused')),
    router_bias VARCHAR CHECK (router_bias IN ('no', 'selection', 'router')),
    q_lora_rank INTEGER CHECK (q_lora_rank > 0),
    kv_lora_rank INTEGER CHECK (kv_lora_rank > 0),
    ssm_conv INTEGER CHECK (ssm_conv > 0),
    ssm_inner INTEGER CHECK (ssm_inner > 0),
    ssm_state INTEGER CHECK (ssm_state > 0),
    ssm_heads INTEGER CHECK (ssm_heads > 0),
    ssm_groups INTEGER CHECK (ssm_groups > 0),
    ssm_norm BOOLEAN,
    conv_cache INTEGER CHECK (conv_cache > 0),
    kv_shared_layers INTEGER CHECK (kv_shared_layers > 0),
    values_from_keys BOOLEAN,
    n_embd_per_layer INTEGER CHECK (n_embd_per_layer > 0),
    n_altup INTEGER CHECK (n_altup > 0),
    laurel_rank INTEGER CHECK (laurel_rank > 0),
    draft_layers INTEGER CHECK (draft_layers > 0),
    tokenizer VARCHAR,
    source VARCHAR NOT NULL
);

-- Who makes GGUF files with an importance matrix: a few rules of the mixes differ by it.
CREATE TABLE quantizers (
    repo_prefix VARCHAR PRIMARY KEY,
    imatrix BOOLEAN NOT NULL,
    source VARCHAR NOT NULL
);

-- What a tokenizer takes in a GGUF file's metadata.
CREATE TABLE tokenizers (
    tokenizer VARCHAR PRIMARY KEY,
    kind VARCHAR,
    vocab_size INTEGER CHECK (vocab_size > 0),
    tokens_bytes BIGINT CHECK (tokens_bytes > 0),
    scores_bytes BIGINT CHECK (scores_bytes >= 0),
    types_bytes BIGINT CHECK (types_bytes >= 0),
    merges_bytes BIGINT CHECK (merges_bytes >= 0),
    other_bytes BIGINT CHECK (other_bytes >= 0),
    source VARCHAR NOT NULL
);

-- ── devices ─────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE devices (
    id VARCHAR PRIMARY KEY CHECK (regexp_full_match(id, '[a-z0-9][a-z0-9.+-]*')),
    name VARCHAR NOT NULL UNIQUE,
    kind VARCHAR NOT NULL CHECK (kind IN ('phone', 'tablet', 'laptop', 'desktop', 'mini-pc', 'workstation', 'server',
        'sbc')),
    os_options VARCHAR NOT NULL, -- separated by "|"
    cpu_model VARCHAR,
    cpu_cores INTEGER CHECK (cpu_cores > 0),
    cpu_perf_cores INTEGER CHECK (cpu_perf_cores > 0),
    cpu_eff_cores INTEGER CHECK (cpu_eff_cores >= 0),
    cpu_threads INTEGER CHECK (cpu_threads > 0),
    cpu_isa VARCHAR, -- separated by ","
    ram_gb_options VARCHAR CHECK (regexp_full_match(ram_gb_options, '[0-9.]+(\|[0-9.]+)*')), -- GB, separated by "|"
    memory_type VARCHAR,
    cpu_mem_bw_gbs DOUBLE CHECK (cpu_mem_bw_gbs > 0), -- GB/s
    gpu_name VARCHAR,
    gpu_vram_gb VARCHAR CHECK (gpu_vram_gb = 'shared' OR try_cast(gpu_vram_gb AS DOUBLE) > 0), -- GB of one GPU
    gpu_mem_bw_gbs DOUBLE CHECK (gpu_mem_bw_gbs > 0), -- GB/s
    gpu_fp16_tflops_dense DOUBLE CHECK (gpu_fp16_tflops_dense > 0),
    gpu_fp16_shader_tflops DOUBLE CHECK (gpu_fp16_shader_tflops > 0),
    gpu_int8_tops_dense DOUBLE CHECK (gpu_int8_tops_dense > 0),
    npu_tops DOUBLE CHECK (npu_tops > 0),
    unified_memory BOOLEAN,
    gpu_max_mem_fraction DOUBLE CHECK (gpu_max_mem_fraction > 0 AND gpu_max_mem_fraction <= 1),
    tdp_w DOUBLE CHECK (tdp_w > 0),
    confidence VARCHAR NOT NULL,
    notes VARCHAR,
    source VARCHAR NOT NULL,
    role VARCHAR NOT NULL CHECK (role IN ('machine', 'chip', 'card', 'anchor')),
    brand VARCHAR,
    arch VARCHAR NOT NULL CHECK (arch IN ('x86-64', 'arm64', 'riscv64')),
    chip VARCHAR,
    gpu_vendor VARCHAR CHECK (gpu_vendor IN ('nvidia', 'amd', 'intel', 'apple', 'qualcomm', 'arm', 'imagination')),
    gpu_count INTEGER CHECK (gpu_count > 0),
    gpu_compute_capability VARCHAR CHECK (regexp_full_match(gpu_compute_capability, '\d+\.\d')),
    gpu_fp32_tflops DOUBLE CHECK (gpu_fp32_tflops > 0),
    npu_name VARCHAR,
    memory_mt_s INTEGER CHECK (memory_mt_s > 0), -- million transfers per second
    memory_bus_bits INTEGER CHECK (memory_bus_bits > 0),
    bandwidth_origin VARCHAR CHECK (bandwidth_origin IN ('published', 'derived', 'assumed')),
    ram_gb_default DOUBLE CHECK (ram_gb_default > 0), -- GB
    release_year INTEGER CHECK (release_year BETWEEN 1990 AND 2100),
    aliases VARCHAR -- separated by "|"
);

-- What a machine keeps for itself; the first row of a rule that fits counts.
CREATE TABLE reserves (
    rule VARCHAR NOT NULL,
    os VARCHAR,
    kind VARCHAR,
    memory_gb_min DOUBLE CHECK (memory_gb_min >= 0),
    memory_gb_max DOUBLE,
    value VARCHAR NOT NULL, -- in "unit"; a list is separated by "|"
    unit VARCHAR NOT NULL,
    confidence VARCHAR NOT NULL,
    notes VARCHAR,
    source VARCHAR NOT NULL,
    CHECK (memory_gb_min < memory_gb_max)
);

-- ── runtimes ────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE runtimes (
    runtime VARCHAR NOT NULL UNIQUE, -- its name
    formats VARCHAR NOT NULL,
    platforms_accelerators VARCHAR NOT NULL,
    openai_compatible_api VARCHAR NOT NULL,
    install_command VARCHAR NOT NULL,
    run_command VARCHAR NOT NULL,
    container_kubernetes VARCHAR NOT NULL,
    licence VARCHAR NOT NULL,
    enterprise_notes VARCHAR NOT NULL,
    limits_notes VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    checked VARCHAR NOT NULL,
    id VARCHAR PRIMARY KEY,
    managed BOOLEAN NOT NULL,
    offline BOOLEAN NOT NULL,
    sla VARCHAR NOT NULL CHECK (sla IN ('yes', 'no', 'conditions')),
    audit VARCHAR NOT NULL CHECK (audit IN ('yes', 'no', 'conditions')),
    rbac VARCHAR NOT NULL CHECK (rbac IN ('yes', 'no', 'conditions')),
    support VARCHAR NOT NULL CHECK (support IN ('yes', 'no', 'conditions')),
    enterprise_source VARCHAR NOT NULL,
    many_users BOOLEAN NOT NULL,
    experimental BOOLEAN NOT NULL,
    own_conversion BOOLEAN NOT NULL,
    browser BOOLEAN NOT NULL,
    gui BOOLEAN NOT NULL,
    try_here BOOLEAN NOT NULL,
    good_at VARCHAR NOT NULL,
    max_file_bytes BIGINT CHECK (max_file_bytes > 0),
    install_linux VARCHAR,
    install_macos VARCHAR,
    install_windows VARCHAR,
    install_android VARCHAR,
    install_ios VARCHAR,
    review_note VARCHAR,
    endpoint VARCHAR, -- address of its server that speaks OpenAI's protocol, as it is by default
    endpoint_source VARCHAR,
    users_max INTEGER CHECK (users_max > 0), -- at once; empty: no limit is known
    max_model_bytes BIGINT CHECK (max_model_bytes > 0), -- weights in all; empty: memory is the limit
    users_max_source VARCHAR,
    CHECK (endpoint IS NULL OR endpoint_source IS NOT NULL),
    CHECK (users_max IS NULL OR users_max_source IS NOT NULL)
);

CREATE TABLE runtime_platforms (
    runtime VARCHAR NOT NULL REFERENCES runtimes (id),
    os VARCHAR NOT NULL CHECK (os IN ('linux', 'windows', 'macos', 'android', 'ios', 'any')),
    arch VARCHAR NOT NULL CHECK (arch IN ('x86-64', 'arm64', 'riscv64', 'any')),
    accelerator VARCHAR NOT NULL,
    isa_required VARCHAR,
    min_compute_capability VARCHAR CHECK (regexp_full_match(min_compute_capability, '\d+\.\d')), -- NVIDIA's
    form_factors VARCHAR,
    support VARCHAR NOT NULL CHECK (support IN ('yes', 'experimental', 'no')),
    note VARCHAR,
    source VARCHAR NOT NULL,
    vendors VARCHAR, -- separated by "|"
    amd_gpus VARCHAR -- a regular expression for the names of AMD's GPUs that it runs on; empty: all
);

CREATE TABLE runtime_formats (
    runtime VARCHAR NOT NULL REFERENCES runtimes (id),
    format VARCHAR NOT NULL CHECK (format IN ('gguf', 'mlx', 'onnx', 'safetensors', 'mlc', 'litert', 'managed')),
    quantization VARCHAR, -- empty where managed
    support VARCHAR NOT NULL CHECK (support IN ('yes', 'experimental', 'no')),
    note VARCHAR,
    since_version VARCHAR,
    source VARCHAR NOT NULL,
    min_compute_capability VARCHAR CHECK (regexp_full_match(min_compute_capability, '\d+\.\d')), -- NVIDIA's
    accelerators VARCHAR, -- separated by "|"; empty: all of the runtime's but an NPU
    made_on_load BOOLEAN NOT NULL, -- the runtime makes it of the original weights while loading them
    UNIQUE (runtime, format, quantization)
);

CREATE TABLE runtime_architectures (
    runtime VARCHAR NOT NULL REFERENCES runtimes (id),
    architecture VARCHAR NOT NULL,
    support VARCHAR NOT NULL CHECK (support IN ('yes', 'experimental', 'no')),
    since_version VARCHAR,
    source VARCHAR NOT NULL,
    note VARCHAR,
    PRIMARY KEY (runtime, architecture)
);

-- What a runtime takes beside weights and cache.
CREATE TABLE runtime_memory (
    runtime VARCHAR NOT NULL, -- or runtime:binding
    part VARCHAR NOT NULL,
    value DOUBLE NOT NULL CHECK (value >= 0),
    unit VARCHAR NOT NULL CHECK (unit IN ('bytes', 'tokens', 'fraction')),
    confidence VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    PRIMARY KEY (runtime, part)
);

-- Models that run on an NPU, by its maker: software for one maker's NPU never runs on another's.
CREATE TABLE runtime_npu_models (
    runtime VARCHAR NOT NULL REFERENCES runtimes (id),
    model_id VARCHAR NOT NULL REFERENCES models (model_id),
    npu VARCHAR NOT NULL CHECK (npu IN ('qualcomm', 'intel', 'amd-xdna2')),
    how VARCHAR NOT NULL CHECK (how IN ('published', 'recipe')), -- to fetch, or to make by a published recipe
    name VARCHAR NOT NULL, -- of the variant, or of the recipe's folder
    context_tokens BIGINT CHECK (context_tokens > 0), -- what it was compiled for; empty: the model's own
    source VARCHAR NOT NULL,
    PRIMARY KEY (runtime, model_id, npu)
);

-- The same model served to many users at once by two engines on the same GPU.
CREATE TABLE runtime_batching (
    engine VARCHAR NOT NULL,
    users INTEGER NOT NULL CHECK (users > 1),
    tokens_per_s DOUBLE NOT NULL CHECK (tokens_per_s > 0), -- of all users together
    reference_engine VARCHAR NOT NULL,
    reference_tokens_per_s DOUBLE NOT NULL CHECK (reference_tokens_per_s > 0),
    hardware VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    source VARCHAR NOT NULL
);

-- Models that a runtime publishes under a name of its own.
CREATE TABLE runtime_models (
    runtime VARCHAR NOT NULL REFERENCES runtimes (id),
    model_id VARCHAR NOT NULL REFERENCES models (model_id),
    format VARCHAR NOT NULL,
    quantization VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    repo VARCHAR,
    file VARCHAR,
    file_bytes BIGINT CHECK (file_bytes > 0),
    memory_bytes BIGINT CHECK (memory_bytes > 0),
    accelerator VARCHAR, -- separated by "|"
    note VARCHAR,
    source VARCHAR NOT NULL,
    UNIQUE (runtime, name)
);

-- ── measured speeds ─────────────────────────────────────────────────────────────────────────────────────────

-- Published measurements, as their sources have them; device names are those of devices.csv where one fits.
CREATE TABLE measurements (
    row_id INTEGER PRIMARY KEY,
    device VARCHAR NOT NULL,
    device_raw VARCHAR NOT NULL,
    n_devices INTEGER NOT NULL CHECK (n_devices > 0),
    backend VARCHAR NOT NULL,
    version VARCHAR,
    date VARCHAR,
    model VARCHAR NOT NULL,
    params_b DOUBLE CHECK (params_b > 0), -- billions
    active_params_b DOUBLE CHECK (active_params_b > 0), -- billions
    quant VARCHAR,
    model_bytes BIGINT CHECK (model_bytes > 0),
    prompt_tokens INTEGER CHECK (prompt_tokens > 0),
    gen_tokens DOUBLE CHECK (gen_tokens > 0), -- a mean where answers differed
    depth INTEGER CHECK (depth >= 0), -- tokens in the context before the run
    batch INTEGER NOT NULL CHECK (batch > 0), -- sequences at once
    threads INTEGER CHECK (threads > 0),
    n_gpu_layers INTEGER,
    flash_attn BOOLEAN,
    prefill_tok_s DOUBLE CHECK (prefill_tok_s >= 0),
    decode_tok_s DOUBLE CHECK (decode_tok_s > 0),
    ttft_ms DOUBLE CHECK (ttft_ms > 0),
    peak_memory_bytes BIGINT CHECK (peak_memory_bytes > 0),
    notes VARCHAR,
    source VARCHAR NOT NULL,
    model_id VARCHAR,
    reviewed_params_b DOUBLE CHECK (reviewed_params_b > 0), -- billions
    reviewed_active_params_b DOUBLE CHECK (reviewed_active_params_b > 0), -- billions
    evidence VARCHAR NOT NULL,
    weight DOUBLE NOT NULL CHECK (weight BETWEEN 0 AND 1), -- in the fit; 0: not used
    duplicate_of INTEGER,
    outlier VARCHAR,
    review_note VARCHAR
);

-- The fitted speed formulas: coefficients by backend and hardware, with the error they had on rows held out.
CREATE TABLE speed_coefficients (
    backend_family VARCHAR NOT NULL,
    hardware_class VARCHAR NOT NULL,
    phase VARCHAR NOT NULL CHECK (phase IN ('decode', 'prefill')),
    fixed_s DOUBLE NOT NULL CHECK (fixed_s >= 0),
    layer_s DOUBLE NOT NULL CHECK (layer_s >= 0),
    element_s DOUBLE NOT NULL CHECK (element_s >= 0),
    weight_efficiency DOUBLE NOT NULL CHECK (weight_efficiency > 0),
    bandwidth_balance DOUBLE NOT NULL,
    kv_efficiency DOUBLE NOT NULL CHECK (kv_efficiency > 0),
    moe_efficiency DOUBLE NOT NULL CHECK (moe_efficiency > 0),
    compute DOUBLE NOT NULL CHECK (compute > 0),
    compute_balance DOUBLE NOT NULL,
    attention DOUBLE NOT NULL CHECK (attention > 0),
    thread_exponent DOUBLE NOT NULL,
    rows INTEGER NOT NULL CHECK (rows >= 0),
    devices INTEGER NOT NULL CHECK (devices >= 0),
    held_out_median_abs_error DOUBLE CHECK (held_out_median_abs_error >= 0), -- fraction
    held_out_within_30 DOUBLE CHECK (held_out_within_30 BETWEEN 0 AND 1),
    interval_low DOUBLE NOT NULL, -- of the natural logarithm; holds 80% together with interval_high
    interval_high DOUBLE NOT NULL,
    interval_from VARCHAR NOT NULL,
    PRIMARY KEY (backend_family, hardware_class, phase),
    CHECK (interval_low <= interval_high)
);

CREATE TABLE speed_quant_factors (
    side VARCHAR NOT NULL CHECK (side IN ('cpu', 'gpu')),
    phase VARCHAR NOT NULL CHECK (phase IN ('decode', 'prefill')),
    quant_class VARCHAR NOT NULL,
    weight_factor DOUBLE NOT NULL CHECK (weight_factor > 0),
    compute_factor DOUBLE NOT NULL CHECK (compute_factor > 0),
    rows INTEGER NOT NULL CHECK (rows >= 0),
    PRIMARY KEY (side, phase, quant_class)
);

-- What is assumed where a device's own figure is unknown, with its spread (standard deviation of the logarithm).
CREATE TABLE speed_fallbacks (
    side VARCHAR NOT NULL,
    device_kind VARCHAR NOT NULL,
    quantity VARCHAR NOT NULL,
    typical DOUBLE NOT NULL CHECK (typical > 0),
    log_spread DOUBLE NOT NULL CHECK (log_spread >= 0),
    devices INTEGER NOT NULL CHECK (devices >= 0),
    PRIMARY KEY (side, device_kind, quantity)
);

CREATE TABLE speed_spreads (
    phase VARCHAR NOT NULL CHECK (phase IN ('decode', 'prefill')),
    side VARCHAR NOT NULL CHECK (side IN ('cpu', 'gpu')),
    between_devices DOUBLE NOT NULL CHECK (between_devices >= 0), -- standard deviations of the natural logarithm
    within_device DOUBLE NOT NULL CHECK (within_device >= 0),
    between_runs DOUBLE NOT NULL CHECK (between_runs >= 0),
    class_share DOUBLE NOT NULL CHECK (class_share BETWEEN 0 AND 1), -- of the variance within a device
    small_width DOUBLE NOT NULL CHECK (small_width >= 1), -- what ranges of small models are multiplied by
    devices INTEGER NOT NULL CHECK (devices >= 0),
    rows INTEGER NOT NULL CHECK (rows >= 0),
    PRIMARY KEY (phase, side)
);

-- When a shared measurement is set aside, and when medians of them correct an estimate.
CREATE TABLE community_rules (
    rule VARCHAR PRIMARY KEY,
    value DOUBLE NOT NULL CHECK (value > 0),
    unit VARCHAR NOT NULL,
    notes VARCHAR NOT NULL,
    source VARCHAR NOT NULL
);

-- What the fitted formulas predicted for measurements that were held out of their fit, tokens per second.
CREATE TABLE speed_held_out (
    phase VARCHAR NOT NULL CHECK (phase IN ('decode', 'prefill')),
    row_id INTEGER NOT NULL REFERENCES measurements (row_id),
    device VARCHAR NOT NULL,
    measured DOUBLE NOT NULL CHECK (measured > 0),
    predicted DOUBLE NOT NULL CHECK (predicted > 0),
    low DOUBLE NOT NULL CHECK (low > 0),
    high DOUBLE NOT NULL,
    PRIMARY KEY (phase, row_id),
    CHECK (low <= high)
);

-- Memory by part as llama.cpp printed it while loading files of known shape, to test the memory estimate.
CREATE TABLE load_log_grid (
    model_id VARCHAR NOT NULL REFERENCES models (model_id),
    architecture VARCHAR NOT NULL,
    quantization VARCHAR NOT NULL,
    binding VARCHAR NOT NULL CHECK (binding IN ('xllamacpp', 'llama-cpp-python')),
    context_tokens INTEGER NOT NULL CHECK (context_tokens > 0),
    kv_type VARCHAR NOT NULL,
    batch_tokens INTEGER NOT NULL CHECK (batch_tokens > 0),
    ubatch_tokens INTEGER NOT NULL CHECK (ubatch_tokens > 0),
    parallel INTEGER NOT NULL CHECK (parallel > 0),
    flash_attn BOOLEAN NOT NULL,
    mapped_bytes BIGINT NOT NULL CHECK (mapped_bytes >= 0),
    repack_bytes BIGINT NOT NULL CHECK (repack_bytes >= 0),
    kv_bytes BIGINT NOT NULL CHECK (kv_bytes >= 0),
    state_bytes BIGINT NOT NULL CHECK (state_bytes >= 0),
    compute_bytes BIGINT NOT NULL CHECK (compute_bytes >= 0),
    output_bytes BIGINT NOT NULL CHECK (output_bytes >= 0),
    file_bytes BIGINT NOT NULL CHECK (file_bytes > 0),
    cpu VARCHAR NOT NULL,
    build VARCHAR,
    measured_at VARCHAR NOT NULL
);

-- How a model's numbers grow with its parameters: log(quantity) = log_intercept + slope * log(parameters).
CREATE TABLE size_laws (
    quantity VARCHAR PRIMARY KEY,
    log_intercept DOUBLE NOT NULL,
    slope DOUBLE NOT NULL,
    log_spread DOUBLE NOT NULL CHECK (log_spread >= 0),
    models INTEGER NOT NULL CHECK (models > 0)
);

CREATE TABLE disk_speeds (
    device_kind VARCHAR NOT NULL, -- "any": where no row of the kind fits
    interface VARCHAR NOT NULL,
    bytes_per_s DOUBLE NOT NULL CHECK (bytes_per_s > 0),
    source VARCHAR NOT NULL
);

-- Classes of devices in the order of what one usually pays: our judgement, each with its reason.
CREATE TABLE device_classes (
    rank INTEGER PRIMARY KEY CHECK (rank > 0),
    id VARCHAR NOT NULL UNIQUE,
    name VARCHAR NOT NULL,
    kinds VARCHAR NOT NULL, -- of devices.csv, joined by "|"
    graphics VARCHAR NOT NULL CHECK (graphics IN ('own', 'shared')), -- a GPU with memory of its own, or not
    gpu_memory_gib_max DOUBLE CHECK (gpu_memory_gib_max > 0),
    bandwidth_gb_s_max DOUBLE CHECK (bandwidth_gb_s_max > 0), -- of main memory
    why VARCHAR NOT NULL
);

-- Which backend's coefficients hold for a runtime on an accelerator.
CREATE TABLE speed_backends (
    runtime VARCHAR NOT NULL REFERENCES runtimes (id),
    accelerator VARCHAR NOT NULL,
    backend_family VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL CHECK (evidence IN ('own', 'bundled', 'none')),
    source VARCHAR NOT NULL,
    PRIMARY KEY (runtime, accelerator)
);

-- How labels in published measurements are read: quantizations, engines and devices, and how far to trust a source.
CREATE TABLE quant_labels (
    label VARCHAR PRIMARY KEY,
    bits_per_weight DOUBLE NOT NULL CHECK (bits_per_weight > 0),
    quant_class VARCHAR NOT NULL,
    quantization VARCHAR, -- the same in the catalog's own words
    source VARCHAR NOT NULL
);

CREATE TABLE measured_backends (
    part VARCHAR NOT NULL CHECK (part IN ('engine', 'accelerator', 'device')),
    pattern VARCHAR NOT NULL, -- of a row's backend; parts joined by " & " must all be in its backend or version
    value VARCHAR NOT NULL,
    why VARCHAR,
    UNIQUE (part, pattern)
);

CREATE TABLE measured_sources (
    pattern VARCHAR, -- empty: every other source
    evidence VARCHAR NOT NULL,
    weight DOUBLE NOT NULL CHECK (weight BETWEEN 0 AND 1),
    prompt_tokens INTEGER CHECK (prompt_tokens > 0),
    depth_tokens INTEGER CHECK (depth_tokens >= 0),
    why VARCHAR NOT NULL
);

-- ── tasks and how answers are judged ────────────────────────────────────────────────────────────────────────

CREATE TABLE tasks (
    id VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    -- weights of the capabilities; a row's sum to 1
    general DOUBLE NOT NULL CHECK (general BETWEEN 0 AND 1),
    reasoning DOUBLE NOT NULL CHECK (reasoning BETWEEN 0 AND 1),
    math DOUBLE NOT NULL CHECK (math BETWEEN 0 AND 1),
    code DOUBLE NOT NULL CHECK (code BETWEEN 0 AND 1),
    instruction DOUBLE NOT NULL CHECK (instruction BETWEEN 0 AND 1),
    multilingual DOUBLE NOT NULL CHECK (multilingual BETWEEN 0 AND 1),
    tools DOUBLE NOT NULL CHECK (tools BETWEEN 0 AND 1),
    long_context DOUBLE NOT NULL CHECK (long_context BETWEEN 0 AND 1),
    prompt_tokens INTEGER NOT NULL CHECK (prompt_tokens > 0),
    answer_tokens INTEGER NOT NULL CHECK (answer_tokens > 0),
    thinking_tokens INTEGER NOT NULL CHECK (thinking_tokens >= 0),
    context_tokens INTEGER NOT NULL CHECK (context_tokens > 0),
    hybrid_thinks BOOLEAN NOT NULL,
    answer_good_s DOUBLE NOT NULL CHECK (answer_good_s > 0),
    answer_bad_s DOUBLE NOT NULL,
    needs_tools BOOLEAN NOT NULL,
    roles VARCHAR NOT NULL, -- of models made to answer it, separated by "|"
    source VARCHAR NOT NULL,
    CHECK (abs(general + reasoning + math + code + instruction + multilingual + tools + long_context - 1) < 1e-6),
    CHECK (prompt_tokens + answer_tokens + thinking_tokens <= context_tokens),
    CHECK (answer_good_s < answer_bad_s)
);

-- Prompts with answers that can be judged, asked of a model after it was measured; easy ones first within a task.
CREATE TABLE checks (
    id VARCHAR PRIMARY KEY CHECK (regexp_full_match(id, '[a-z0-9-]+')),
    task VARCHAR NOT NULL REFERENCES tasks (id),
    kind VARCHAR NOT NULL CHECK (kind IN ('number', 'json', 'code', 'text', 'translation')),
    prompt VARCHAR NOT NULL,
    expected VARCHAR NOT NULL, -- JSON; what it holds for each kind stands in recommender/runner/checks.py
    answer_tokens INTEGER NOT NULL CHECK (answer_tokens BETWEEN 1 AND 1024), -- without thinking
    example VARCHAR NOT NULL, -- an answer that passes; of a translation both, with a blank line between them
    source VARCHAR NOT NULL
);

-- Situations of the field guide, with its choice beside a device and a need that state them.
CREATE TABLE scenarios (
    id VARCHAR PRIMARY KEY,
    title VARCHAR NOT NULL,
    lesson_choice_model VARCHAR,
    lesson_choice_quantization VARCHAR,
    lesson_choice_runtime VARCHAR REFERENCES runtimes (id),
    device_id VARCHAR REFERENCES devices (id),
    ram_gib DOUBLE CHECK (ram_gib > 0),
    need_json VARCHAR NOT NULL, -- an object with fields of recommender.types.Need
    why VARCHAR NOT NULL,
    differs_because VARCHAR, -- with its numbers, where today's figures point elsewhere than the guide
    source VARCHAR NOT NULL
);

-- The steps of the quantization ladder, largest first.
CREATE TABLE ladder (
    quantization VARCHAR PRIMARY KEY REFERENCES quant_loss (name),
    why VARCHAR NOT NULL,
    source VARCHAR NOT NULL
);

-- What the field guide's lesson says, to be set beside our figures.
CREATE TABLE lesson_figures (
    kind VARCHAR NOT NULL CHECK (kind IN ('size', 'memory_ratio')),
    model_ids VARCHAR, -- joined by "|"; NULL: any model
    name VARCHAR, -- as the lesson has it
    quantization VARCHAR NOT NULL REFERENCES ladder (quantization),
    value DOUBLE NOT NULL CHECK (value > 0),
    unit VARCHAR NOT NULL, -- GB: 1e9 bytes
    note VARCHAR,
    source VARCHAR NOT NULL
);

CREATE TABLE priorities (
    priority VARCHAR PRIMARY KEY CHECK (priority IN ('quality', 'balanced', 'speed', 'smallest')),
    quality DOUBLE NOT NULL CHECK (quality BETWEEN 0 AND 1),
    speed DOUBLE NOT NULL CHECK (speed BETWEEN 0 AND 1),
    memory DOUBLE NOT NULL CHECK (memory BETWEEN 0 AND 1),
    runtime DOUBLE NOT NULL CHECK (runtime BETWEEN 0 AND 1),
    answer_time_scale DOUBLE NOT NULL CHECK (answer_time_scale > 0), -- how patient: multiplies the task's good and bad times
    source VARCHAR NOT NULL,
    CHECK (abs(quality + speed + memory + runtime - 1) < 1e-6)
);

CREATE TABLE scoring (
    name VARCHAR PRIMARY KEY,
    value DOUBLE NOT NULL,
    unit VARCHAR NOT NULL,
    why VARCHAR NOT NULL
);

-- ── what live sources say; the shipped files are empty, a refresh fills its own ─────────────────────────────

-- One row per thing published anywhere: which model it is, and when it was last seen there.
CREATE TABLE sightings (
    source VARCHAR NOT NULL, -- hugging-face, azure-ai-foundry, foundry-local, ollama, gguf
    entry_id VARCHAR NOT NULL, -- as the source names it
    model_id VARCHAR, -- empty: what it is was not recognised
    relation VARCHAR NOT NULL CHECK (relation IN ('original', 'quantized', 'finetune', 'adapter', 'merge', 'copy',
        'service', 'installed', 'unknown')),
    why VARCHAR NOT NULL, -- it is taken for that model
    name VARCHAR NOT NULL,
    publisher VARCHAR,
    trust VARCHAR NOT NULL CHECK (trust IN ('maker', 'quantizer', 'other', 'local')),
    format VARCHAR NOT NULL,
    url VARCHAR,
    version VARCHAR, -- a commit, digest or version number
    license_id VARCHAR,
    gated BOOLEAN,
    downloads BIGINT CHECK (downloads >= 0),
    created VARCHAR CHECK (regexp_full_match(created, '20\d\d-[01]\d-[0-3]\d')),
    modified VARCHAR CHECK (regexp_full_match(modified, '20\d\d-[01]\d-[0-3]\d')),
    lifecycle VARCHAR CHECK (lifecycle IN ('preview', 'current', 'deprecated', 'retired')),
    runtime VARCHAR,
    details VARCHAR, -- name=value, separated by ";"
    read_at VARCHAR NOT NULL, -- ISO 8601, UTC
    first_seen VARCHAR NOT NULL,
    gone_at VARCHAR, -- when it was found missing
    PRIMARY KEY (source, entry_id)
);

-- Where two sources differ on one figure: both, and why one was taken.
CREATE TABLE conflicts (
    model_id VARCHAR NOT NULL REFERENCES models (model_id),
    field VARCHAR NOT NULL,
    chosen VARCHAR NOT NULL,
    chosen_source VARCHAR NOT NULL,
    other VARCHAR NOT NULL,
    other_source VARCHAR NOT NULL,
    why VARCHAR NOT NULL
);

-- ── derived by the build from the estimate room; no CSV ─────────────────────────────────────────────────────

CREATE TABLE shapes (
    model_id VARCHAR PRIMARY KEY REFERENCES models (model_id),
    architecture VARCHAR,
    complete BOOLEAN NOT NULL, -- false: the numbers below are unknown and layouts are rough
    n_layer DOUBLE,
    n_embd DOUBLE,
    n_vocab DOUBLE,
    n_head DOUBLE,
    n_ff_live DOUBLE, -- widest feed-forward row that is live at once
    k_full_elements_per_token DOUBLE,
    v_full_elements_per_token DOUBLE,
    k_window_elements_per_token DOUBLE,
    v_window_elements_per_token DOUBLE,
    window_tokens DOUBLE,
    state_bytes DOUBLE,
    v_full_even_elements_per_token DOUBLE, -- values as wide as the widest layer's, as without flash attention
    v_window_even_elements_per_token DOUBLE,
    reason VARCHAR NOT NULL -- why it is not complete; "" when it is
);
COMMENT ON TABLE shapes IS 'derived: one row per model';

CREATE TABLE variants (
    variant_id INTEGER NOT NULL, -- its place among the rows, by which the runtimes that take it are listed
    model_id VARCHAR NOT NULL REFERENCES models (model_id),
    format VARCHAR NOT NULL CHECK (format IN ('gguf', 'mlx', 'onnx', 'safetensors', 'mlc', 'litert', 'managed')),
    quantization VARCHAR NOT NULL, -- "" where managed
    file_bytes DOUBLE CHECK (file_bytes > 0),
    tensor_bytes DOUBLE CHECK (tensor_bytes > 0),
    input_embedding_bytes DOUBLE CHECK (input_embedding_bytes >= 0),
    output_bytes DOUBLE CHECK (output_bytes >= 0),
    read_bytes_per_token DOUBLE CHECK (read_bytes_per_token > 0),
    bits_per_weight DOUBLE CHECK (bits_per_weight > 0),
    repack_x86_bytes DOUBLE CHECK (repack_x86_bytes >= 0), -- copied into a layout of llama.cpp's own on an AVX2 CPU
    repack_arm_bytes DOUBLE CHECK (repack_arm_bytes >= 0), -- and on an ARM CPU
    layout VARCHAR CHECK (layout IN ('exact', 'rough')), -- NULL where managed
    published_bytes DOUBLE CHECK (published_bytes > 0), -- of the file below, where its exact size is known
    repo VARCHAR NOT NULL, -- "" when none is known
    file VARCHAR NOT NULL, -- "" when none is known
    availability VARCHAR NOT NULL CHECK (availability IN ('file', 'repo', 'convert', 'service')),
    PRIMARY KEY (model_id, format, quantization),
    CHECK ((availability = 'service') = (format = 'managed'))
);
COMMENT ON TABLE variants IS 'derived: one row per model × format × quantization';

CREATE TABLE abilities (
    model_id VARCHAR NOT NULL REFERENCES models (model_id),
    capability VARCHAR NOT NULL,
    score DOUBLE NOT NULL CHECK (score BETWEEN 0 AND 100),
    standard_error DOUBLE NOT NULL CHECK (standard_error >= 0), -- points of 100
    evidence INTEGER NOT NULL CHECK (evidence >= 0), -- benchmark scores behind it
    PRIMARY KEY (model_id, capability)
);
COMMENT ON TABLE abilities IS 'derived: one row per model × capability';

CREATE TABLE quant_losses (
    model_id VARCHAR NOT NULL REFERENCES models (model_id),
    quantization VARCHAR NOT NULL,
    points DOUBLE NOT NULL CHECK (points >= 0), -- of 100, lost against full precision
    PRIMARY KEY (model_id, quantization)
);
COMMENT ON TABLE quant_losses IS 'derived: one row per model × quantization';

-- Of a large catalog this table has millions of rows: the names stand once, in variants, and there is no key, whose
-- index would be larger than the table.
CREATE TABLE variant_runtimes (
    variant_id INTEGER NOT NULL,
    runtime VARCHAR NOT NULL,
    support VARCHAR NOT NULL CHECK (support IN ('yes', 'experimental'))
);
COMMENT ON TABLE variant_runtimes IS 'derived: one row per variant × runtime that takes it';

CREATE VIEW candidates AS
SELECT v.model_id, v.format, v.quantization, t.runtime, t.support
FROM variant_runtimes t JOIN variants v USING (variant_id);

CREATE TABLE lifecycles (
    model_id VARCHAR PRIMARY KEY REFERENCES models (model_id),
    state VARCHAR NOT NULL CHECK (state IN ('new', 'current', 'superseded', 'withdrawn')),
    why VARCHAR NOT NULL -- a sentence with the dates it rests on
);
COMMENT ON TABLE lifecycles IS 'derived: one row per model';

CREATE TABLE build_info (
    fingerprint VARCHAR NOT NULL, -- of the CSVs, this file and the code that derives
    stamp VARCHAR NOT NULL, -- their sizes and times: the quick look before the fingerprint
    schema_fingerprint VARCHAR NOT NULL,
    package_version VARCHAR NOT NULL,
    catalog_date VARCHAR NOT NULL, -- the newest date of any fact in it
    built_at TIMESTAMP NOT NULL -- UTC
);
COMMENT ON TABLE build_info IS 'derived: one row';
