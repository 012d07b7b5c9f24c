"""What a catalog must not say, rule by rule, as SQL over the built catalog.

Each query gives one row per contradiction: the key of the row it is about (the columns of :data:`KEYS`, in that
order), how sure it is, and a sentence with both figures. Tables ``laid_out`` (exact layouts) and ``counted`` (what an
architecture adds up to) are made by :data:`PREPARE`.
"""

from __future__ import annotations

from dataclasses import dataclass

from recommender.catalog.overlay import KEYS as OVERLAY_KEYS

# Columns that tell a table's rows apart: the overlay's, and two revisions of one file.
KEYS: dict[str, tuple[str, ...]] = {
    **OVERLAY_KEYS,
    "gguf_files": (*OVERLAY_KEYS["gguf_files"], "bytes"),
    "model_aliases": ("alias",),
}


@dataclass(frozen=True)
class Rule:
    """One kind of contradiction. ``title`` is what a row of this kind breaks, in a few words."""

    name: str
    title: str
    table: str
    sql: str


PREPARE = """
CREATE OR REPLACE TEMP TABLE laid_out AS
SELECT model_id, quantization, file_bytes FROM variants WHERE format = 'gguf' AND layout = 'exact';
-- 16 bits per weight all through: bytes are parameters. What a count holds of look-up tables differs by maker.
CREATE OR REPLACE TEMP TABLE counted AS
SELECT v.model_id, 8 * v.tensor_bytes / v.bits_per_weight AS elements, v.read_bytes_per_token / 2 AS read,
       v.input_embedding_bytes / 2 AS looked_up, s.n_embd * s.n_vocab AS embedding
FROM variants v JOIN shapes s USING (model_id)
WHERE v.format = 'gguf' AND v.quantization = 'BF16' AND v.layout = 'exact';
CREATE OR REPLACE TEMP MACRO words(id) AS lower(regexp_extract(id, '[^/]*$'));
CREATE OR REPLACE TEMP MACRO says(id, list) AS list_has_any(string_split_regex(words(id), '[^a-z]+'), list);
-- Licence families whose terms are the same wherever they are used; of others nothing is judged.
CREATE OR REPLACE TEMP MACRO allowed(license_id) AS CASE
    WHEN regexp_matches(license_id, '(^|-)(nc|noncommercial|research)(-|$)') THEN 'no'
    WHEN regexp_matches(license_id, '^(apache-2[.]0|mit|isc|unlicense|bsd-[0-9a-z-]+|cc0-1[.]0|cc-by(-sa)?-4[.]0)$')
        THEN 'yes'
    WHEN regexp_matches(license_id, '^llama[0-9.]*$|^gemma$|openrail|community') THEN 'conditions' END;
"""
