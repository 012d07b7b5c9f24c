"""Rules about files, benchmarks and what was seen elsewhere. See ``curation_rules.py`` for what a query gives."""

from __future__ import annotations

from recommender.catalog.curation_rules import Rule

_SIZES = """
WITH whole AS (
    SELECT gguf_repo, file, bytes, bytes AS total, catalog_model_id AS model_id, quantization,
           coalesce(recipe, 'unknown') AS recipe
    FROM gguf_files WHERE kind = 'model' AND bytes_kind = 'exact' AND quantization IS NOT NULL
    UNION ALL
    SELECT gguf_repo, min(file), arg_min(bytes, file), sum(bytes), any_value(catalog_model_id),
           any_value(quantization), coalesce(any_value(recipe), 'unknown')
    FROM gguf_files WHERE kind = 'split' AND quantization IS NOT NULL
    GROUP BY gguf_repo, regexp_replace(file, '-[0-9]{5}-of-', '-of-')
    HAVING bool_and(bytes_kind = 'exact') AND count(DISTINCT file) = max(split_count)
)
"""

FILE_RULES = (
    Rule(
        "file-size",
        "the bytes of a file against the layout of its model",
        "gguf_files",
        # 2% as in derive.py: beyond that the recipe or the shape is another one. Most standard files are within 1%.
        _SIZES
        + """
        SELECT w.gguf_repo, w.file, w.bytes,
               CASE WHEN w.recipe = 'standard' AND difference > 0.02 THEN 'wrong' ELSE 'doubtful' END,
               format('{} has {:,} bytes; the tensors of {} in {} take {:,} ({:+.1f}%). Recipe: {}.', w.file, w.total,
                      model_id, quantization, l.file_bytes::BIGINT, 100 * (w.total / l.file_bytes - 1), w.recipe)
        FROM whole w JOIN laid_out l USING (model_id, quantization), (SELECT abs(w.total / l.file_bytes - 1))
            AS t (difference)
        WHERE difference > CASE w.recipe WHEN 'standard' THEN 0.01 WHEN 'own' THEN 0.5 ELSE 0.02 END
        """,
    ),
    Rule(
        "bits-per-weight",
        "bits per weight that its quantization cannot have",
        "gguf_files",
        # A mix never goes below its base type; a table of embeddings at 8.5 bits can lift a small model's to that.
        _SIZES
        + """
        SELECT w.gguf_repo, w.file, w.bytes, 'wrong',
               format('{} has {:.2f} bits for each of the {:,} parameters of {}; {} has {:.2f} to {:.2f}.', w.file,
                      bits, params, model_id, quantization, least, most)
        FROM (
            SELECT w.*, coalesce(m.params_text, m.params_total) AS params, 8 * w.total / params AS bits,
                   q.bits_per_weight * CASE WHEN m.params_text IS NULL AND m.modalities <> 'text' THEN 0.75 ELSE 0.9 END
                       AS least,
                   greatest(q.bits_per_weight * 1.1, CASE WHEN m.params_total < 4e9 THEN 8.7
                       ELSE q.bits_per_weight * 1.25 END) AS most
            FROM whole w JOIN models m USING (model_id) JOIN quant_loss_types q USING (quantization)
            ANTI JOIN laid_out l USING (model_id, quantization)
            WHERE w.recipe <> 'own'
        ) w
        WHERE bits NOT BETWEEN least AND most
        """,
    ),
    Rule(
        "tied-embeddings",
        "a file with one embedding table more or less than its architecture",
        "gguf_files",
        _SIZES
        + """
        SELECT w.gguf_repo, w.file, w.bytes, 'wrong',
               format('{} has {:,} bytes, {:,} {} than the tensors of {}: one table of embeddings. Its row says that '
                      'input and output {} one table.', w.file, w.total, abs(difference)::BIGINT,
                      CASE WHEN difference > 0 THEN 'more' ELSE 'fewer' END, model_id,
                      CASE WHEN difference > 0 THEN 'share' ELSE 'do not share' END)
        FROM (
            SELECT w.*, w.total - l.file_bytes AS difference,
                   s.n_embd * s.n_vocab * q.bits_per_weight / 8 AS table_bytes
            FROM whole w JOIN laid_out l USING (model_id, quantization) JOIN shapes s USING (model_id)
            JOIN quant_loss_types q USING (quantization)
            -- Types that give every matrix the same bits.
            WHERE quantization IN ('F16', 'BF16', 'Q8_0') AND w.recipe <> 'own'
        ) w
        WHERE abs(abs(difference) / table_bytes - 1) < 0.05
        """,
    ),
    Rule(
        "sighting-dates",
        "dates of a source that cannot be",
        "sightings",
        """
        SELECT source, entry_id, 'wrong', format('{} was made on {}, after it was read ({}).', entry_id, created,
                                                 read_at)
        FROM sightings WHERE created > left(read_at, 10)
        UNION ALL
        SELECT source, entry_id, 'wrong', format('{} was last changed on {}, before it was made ({}).', entry_id,
                                                 modified, created)
        FROM sightings WHERE modified < created
        """,
    ),
    Rule(
        "same-file",
        "one file under two models",
        "gguf_files",
        """
        WITH files AS (
            SELECT f.*, s.n_layer, s.n_embd, s.n_vocab FROM gguf_files f JOIN shapes s ON s.model_id = catalog_model_id
            WHERE kind = 'model'
        )
        SELECT a.gguf_repo, a.file, a.bytes, 'wrong',
               format('{} and {} are the same file (SHA-256 {}…), listed for {} and for {}.', a.file, b.file,
                      left(a.sha256, 12), a.catalog_model_id, b.catalog_model_id)
        FROM files a JOIN files b ON a.sha256 = b.sha256 AND a.catalog_model_id < b.catalog_model_id
        UNION ALL
        -- Tunes of one network have files of one size; networks of different shapes have not.
        SELECT a.gguf_repo, a.file, a.bytes, 'doubtful',
               format('{} of {} and {} of {} both have {:,} bytes, and the models differ in shape.', a.file,
                      a.catalog_model_id, b.file, b.catalog_model_id, a.bytes)
        FROM files a JOIN files b ON a.bytes = b.bytes AND a.quantization = b.quantization
            AND a.catalog_model_id < b.catalog_model_id
        WHERE a.bytes_kind = 'exact' AND b.bytes_kind = 'exact' AND (a.sha256 IS NULL OR b.sha256 IS NULL)
          AND (a.n_layer, a.n_embd, a.n_vocab) <> (b.n_layer, b.n_embd, b.n_vocab)
        """,
    ),
    Rule(
        "file-parts",
        "parts that do not make a whole",
        "gguf_files",
        """
        WITH parts AS (
            SELECT *, regexp_extract(lower(file), '-([0-9]{5})-of-([0-9]{5})[.]gguf$', ['part', 'whole']) AS named
            FROM gguf_files
        ), numbered AS (
            SELECT *, named.part::INTEGER AS part, named.whole::INTEGER AS whole FROM parts WHERE named.part <> ''
        )
        SELECT gguf_repo, file, bytes, 'wrong', format('{} is part {} of {}; its row says {} parts.', file, part, whole,
                                                       coalesce(split_count::VARCHAR, 'no'))
        FROM numbered WHERE split_count IS DISTINCT FROM whole OR part > whole OR part < 1
        UNION ALL
        SELECT gguf_repo, min(file), first(bytes ORDER BY file), 'doubtful',
               format('{} is one of {} parts; {} are listed.', min(file), whole, count(DISTINCT part))
        FROM numbered WHERE part BETWEEN 1 AND whole
        GROUP BY gguf_repo, whole, regexp_replace(file, '-[0-9]{5}-of-', '-of-')
        HAVING count(DISTINCT part) < whole
        """,
    ),
    Rule(
        "unknown-model",
        "a row for a model that the catalog does not have",
        "gguf_files",
        """
        SELECT gguf_repo, file, bytes, 'wrong', format('{} is listed for {}, which the catalog does not have.', file,
                                                       catalog_model_id)
        FROM gguf_files ANTI JOIN models m ON m.model_id = catalog_model_id WHERE catalog_model_id IS NOT NULL
        """,
    ),
    Rule(
        "unknown-sighted",
        "something seen that is taken for a model that the catalog does not have",
        "sightings",
        """
        SELECT source, entry_id, 'wrong', format('{} is taken for {}, which the catalog does not have.', entry_id,
                                                 s.model_id)
        FROM sightings s ANTI JOIN models USING (model_id) WHERE s.model_id IS NOT NULL
        """,
    ),
    Rule(
        "benchmark",
        "a score outside its scale, or another score for the same run",
        "benchmarks",
        """
        SELECT model_id, benchmark, metric_details, mode, evaluator, variant, 'wrong',
               format('{} has {:g} in {}, whose scale is {} to {}.', model_id, score, benchmark,
                      coalesce(scale_min::VARCHAR, 'open'), coalesce(scale_max::VARCHAR, 'open'))
        FROM benchmarks WHERE score < scale_min OR score > scale_max
        UNION ALL
        SELECT model_id, benchmark, metric_details, mode, evaluator, variant, 'wrong',
               format('{} has {:g} and {:g} in {}, measured in the same way by {}.', model_id, min(score), max(score),
                      benchmark, evaluator)
        FROM benchmarks WHERE duplicate IS NULL
        GROUP BY model_id, benchmark, metric_details, mode, evaluator, variant HAVING count(DISTINCT score) > 1
        UNION ALL
        SELECT model_id, benchmark, metric_details, mode, evaluator, variant, 'wrong',
               format('{} has {:g} in {}, of which {} is better; for most models {} is.', model_id, score, benchmark,
                      direction, usual)
        FROM (SELECT *, mode(direction) OVER (PARTITION BY benchmark, unit) AS usual FROM benchmarks)
        WHERE direction <> usual
        """,
    ),
    Rule(
        "runtime-size",
        "bytes of a runtime's own file against its model and quantization",
        "runtime_models",
        # Packages for several devices hold the weights more than once: 3.1 times the bytes is what some have.
        """
        SELECT r.runtime, r.name, 'doubtful',
               format('{} of {} has {:,} bytes: {:.2f} bits for each of the {:,} parameters of {}; {} has {:.2f}.',
                      r.name, r.runtime, r.file_bytes, bits, params, r.model_id, r.quantization, q.bits_per_weight)
        FROM (
            SELECT r.*, coalesce(m.params_text, m.params_total) AS params, 8 * r.file_bytes / params AS bits
            FROM runtime_models r JOIN models m USING (model_id)
        ) r JOIN quant_loss_types q USING (quantization)
        -- What was trained in a smaller type keeps it, whatever the package is called.
        LEFT JOIN native_quantizations n USING (model_id)
        LEFT JOIN quant_loss_types t ON t.quantization = n.quantization
        WHERE bits NOT BETWEEN 0.7 * least(q.bits_per_weight, t.bits_per_weight) AND 4 * q.bits_per_weight
        """,
    ),
    Rule(
        "sources-differ",
        "two sources far apart on one figure",
        "conflicts",
        """
        SELECT model_id, field, chosen_source, other_source, 'doubtful',
               format('{}: {} is {} by {}, and {} by {}.', model_id, field, chosen, chosen_source, other, other_source)
        FROM (SELECT *, try_cast(chosen AS DOUBLE) AS one, try_cast(other AS DOUBLE) AS two FROM conflicts)
        WHERE greatest(one, two) >= 1.5 * least(one, two)
            OR field = 'license_id' AND allowed(chosen) <> allowed(other)
        """,
    ),
)
