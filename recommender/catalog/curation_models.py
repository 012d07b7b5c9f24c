"""Rules about models: what one row, or two of them, must not say. See ``curation_rules.py`` for what a query gives."""

from __future__ import annotations

from recommender.catalog.curation_rules import Rule
from recommender.types import TIER_BOUNDS

_TIER = "CASE " + " ".join(f"WHEN params_total < {bound!r} THEN '{tier}'" for tier, bound in TIER_BOUNDS)

MODEL_RULES = (
    Rule(
        "architecture-parameters",
        "a parameter count that its architecture does not add up to",
        "models",
        """
        SELECT model_id, CASE WHEN low OR abs(m.params / c.elements - 1) > 0.05 THEN 'wrong' ELSE 'doubtful' END,
               format('{} is listed with {:,} parameters; its architecture adds up to {:,} ({:+.1f}%).', model_id,
                      m.params, c.elements::BIGINT, 100 * (m.params / c.elements - 1))
               || CASE WHEN abs(abs(m.params - c.elements) / c.embedding - 1) < 0.05
                  THEN ' The difference is one table of embeddings: look at tied_embeddings.' ELSE '' END
        FROM (
            SELECT *, coalesce(params_text, params_total) AS params,
                   -- Towers for pictures and sound are in the total alone.
                   params_text IS NULL AND modalities <> 'text' AS more
            FROM models
        ) m JOIN counted c USING (model_id), (SELECT m.params < 0.98 * c.elements) AS t (low)
        WHERE low OR m.params > c.elements * CASE WHEN more THEN 1.35 ELSE 1.02 END
        """,
    ),
    Rule(
        "active-parameters",
        "active parameters that its experts do not add up to",
        "models",
        """
        SELECT model_id, CASE WHEN params_active BETWEEN 0.5 * read AND 2 * (read + looked_up) THEN 'doubtful'
                              ELSE 'wrong' END,
               format('{} is listed with {:,} active parameters; of its architecture {:,} are read per token, {:,} '
                      'with the table of embeddings.', model_id, params_active, read::BIGINT,
                      (read + looked_up)::BIGINT)
        FROM models JOIN counted USING (model_id)
        WHERE params_active NOT BETWEEN 0.75 * read AND 1.3 * (read + looked_up)
        UNION ALL
        SELECT model_id, 'doubtful', format('{} has {} experts, {} of them in use, and no count of active parameters.',
                                            model_id, n_expert, n_expert_used)
        FROM models WHERE n_expert > n_expert_used AND params_active IS NULL
        UNION ALL
        SELECT model_id, 'wrong', format('{} uses all of its {} experts, and yet {:,} of {:,} parameters are listed as '
                                         'active.', model_id, n_expert, params_active, params_total)
        FROM models WHERE n_expert = n_expert_used AND params_active < 0.8 * params_total
        """,
    ),
    Rule(
        "context",
        "context lengths that exclude each other",
        "models",
        """
        SELECT model_id, 'wrong', format('{} does {:,} tokens as shipped, and at most {:,}.', model_id, context_native,
                                         context_max)
        FROM models WHERE context_native > context_max
        UNION ALL
        SELECT model_id, 'doubtful', format('{} is listed with a context of {:,} tokens; 512 to 20,000,000 are known.',
                                            model_id, context_max)
        FROM models WHERE context_max NOT BETWEEN 512 AND 20000000 AND role NOT IN ('embedding', 'reranker')
        UNION ALL
        SELECT model_id, 'doubtful', format('{} has a sliding window of {:,} tokens in a context of {:,}.', model_id,
                                            sliding_window, context_max)
        FROM models WHERE sliding_window > context_max
        """,
    ),
    Rule(
        "licence",
        "a licence that does not allow what its row says",
        "models",
        """
        -- A row may be stricter than its licence, for what its base asks.
        SELECT model_id,
               CASE WHEN commercial_use = 'no' OR allowed(license_id) = 'yes' THEN 'doubtful' ELSE 'wrong' END,
               format('{} has the licence {}: commercial use is ''{}'', and its row says ''{}''.', model_id, license_id,
                      allowed(license_id), commercial_use)
        FROM models WHERE allowed(license_id) <> commercial_use
        UNION ALL
        SELECT model_id, 'doubtful', format('{} has the licence {}: commercial use is ''{}'', and its row has none.',
                                            model_id, license_id, allowed(license_id))
        FROM models WHERE commercial_use IS NULL AND allowed(license_id) IS NOT NULL
        UNION ALL
        SELECT m.model_id, 'doubtful', format('{} allows commercial use (''{}''); {}, its base, does not.',
                                              m.model_id, m.commercial_use, b.model_id)
        FROM models m JOIN models b ON b.model_id = m.base_model
        WHERE b.commercial_use = 'no' AND m.commercial_use <> 'no'
        UNION ALL
        SELECT m.model_id, 'doubtful', format('{} has the licence {}; its repository {} says {}.', m.model_id,
                                              m.license_id, s.entry_id, s.license_id)
        FROM models m JOIN sightings s USING (model_id)
        WHERE s.relation = 'original' AND s.trust = 'maker' AND s.license_id <> m.license_id
          AND s.license_id NOT IN ('other', 'unknown')
        """,
    ),
    Rule(
        "dates",
        "dates that cannot be",
        "models",
        """
        SELECT model_id, 'wrong', format('{} is released on {}, after today ({}).', model_id, release_date,
                                         current_date)
        FROM models WHERE release_date > current_date::VARCHAR
        UNION ALL
        SELECT m.model_id, 'wrong', format('{} is released on {}, before {}, which it was made from ({}).', m.model_id,
                                           m.release_date, b.model_id, b.release_date)
        FROM models m JOIN models b ON b.model_id = m.base_model
        WHERE m.release_date < left(b.release_date, length(m.release_date))
        UNION ALL
        SELECT m.model_id, 'wrong', format('{} of {} is superseded by {}, which is older ({}).', m.model_id,
                                           m.release_date, n.model_id, n.release_date)
        FROM models m JOIN models n ON n.model_id = m.superseded_by
        WHERE n.release_date < left(m.release_date, length(n.release_date))
        """,
    ),
    Rule(
        "links",
        "a base or a successor that cannot be one",
        "models",
        """
        WITH RECURSIVE links AS (
            SELECT model_id, base_model AS target, 'base_model' AS kind FROM models WHERE base_model IS NOT NULL
            UNION ALL
            SELECT model_id, superseded_by, 'superseded_by' FROM models WHERE superseded_by IS NOT NULL
        ), walks AS (
            SELECT model_id AS start, target, kind, 1 AS steps FROM links
            UNION ALL
            -- Longer chains than these are circles.
            SELECT w.start, l.target, w.kind, w.steps + 1 FROM walks w JOIN links l ON l.model_id = w.target
                AND l.kind = w.kind WHERE w.steps < 20 AND w.target <> w.start
        )
        SELECT start, 'wrong', format('{} leads back to itself along {} in {} steps.', start, kind, min(steps))
        FROM walks WHERE target = start GROUP BY start, kind
        UNION ALL
        SELECT l.model_id, 'wrong', format('{} names {} as {}, which is no maker/name.', l.model_id, l.target, l.kind)
        FROM links l WHERE NOT regexp_full_match(l.target, '[^/\\s]+/[^/\\s]+')
        UNION ALL
        SELECT l.model_id, 'wrong', format('{} is superseded by {}, which the catalog does not have.', l.model_id,
                                           l.target)
        FROM links l ANTI JOIN models n ON n.model_id = l.target WHERE l.kind = 'superseded_by'
        UNION ALL
        SELECT l.model_id, 'wrong', format('{} names {} as {}; the catalog has it as {}.', l.model_id, l.target, l.kind,
                                           coalesce(n.model_id, a.model_id))
        FROM links l LEFT JOIN models n ON lower(n.model_id) = lower(l.target)
        LEFT JOIN model_aliases a ON lower(a.alias) = lower(l.target)
        WHERE l.target NOT IN (SELECT model_id FROM models) AND coalesce(n.model_id, a.model_id) IS NOT NULL
        UNION ALL
        -- README: the same maker's, for the same purpose, with 2/3 to 3/2 of the parameters.
        SELECT m.model_id, 'doubtful', format('{} ({:,} parameters) is superseded by {} ({:,}), which is {}.',
                                              m.model_id, m.params_total, n.model_id, n.params_total,
               CASE WHEN n.params_total < m.params_total THEN 'much smaller' ELSE 'much larger' END)
        FROM models m JOIN models n ON n.model_id = m.superseded_by
        WHERE n.params_total / m.params_total NOT BETWEEN 0.66 AND 1.51
        UNION ALL
        SELECT m.model_id, 'doubtful', format('{} is superseded by {} of another maker.', m.model_id, n.model_id)
        FROM models m JOIN models n ON n.model_id = m.superseded_by
        WHERE split_part(m.model_id, '/', 1) <> split_part(n.model_id, '/', 1)
        """,
    ),
    Rule(
        "same-model",
        "one model under two ids",
        "models",
        """
        SELECT a.model_id, 'doubtful', format('{} and {} have the same name, {:,} and {:,} parameters.', a.model_id,
                                              b.model_id, a.params_total, b.params_total)
        FROM models a JOIN models b ON regexp_replace(words(a.model_id), '[^a-z0-9]', '', 'g')
            = regexp_replace(words(b.model_id), '[^a-z0-9]', '', 'g') AND a.model_id < b.model_id
        WHERE abs(a.params_total / b.params_total - 1) < 0.02
        """,
    ),
    Rule(
        "shared-place",
        "one place to fetch two models from",
        "models",
        """
        WITH places AS (
            SELECT model_id, 'repository' AS kind, trim(unnest(string_split(gguf_repos, ';'))) AS place FROM models
            UNION ALL SELECT model_id, 'Ollama tag', ollama_tag FROM models
            UNION ALL SELECT model_id, 'MLX repository', mlx_repo FROM models
            UNION ALL SELECT model_id, 'Foundry Local alias', onnx_foundry_local_alias FROM models
            UNION ALL SELECT model_id, 'Azure id', azure_catalog_id FROM models
        )
        SELECT min(model_id), 'wrong', format('{} and {} have the same {}: {}.', min(model_id), max(model_id), kind,
                                              any_value(place))
        FROM places WHERE place <> '' GROUP BY kind, lower(place) HAVING count(DISTINCT model_id) > 1
        """,
    ),
    Rule(
        "alias",
        "a name that means two models",
        "model_aliases",
        """
        SELECT a.alias, 'wrong', format('{} is another name of {}, and is the id of {}.', a.alias, a.model_id,
                                        m.model_id)
        FROM model_aliases a JOIN models m ON lower(m.model_id) = lower(a.alias) WHERE m.model_id <> a.model_id
        UNION ALL
        SELECT a.alias, 'wrong', format('{} is another name of {}, and {} of {}.', a.alias, a.model_id, b.alias,
                                        b.model_id)
        FROM model_aliases a JOIN model_aliases b ON regexp_replace(lower(a.alias), '[^a-z0-9]', '', 'g')
            = regexp_replace(lower(b.alias), '[^a-z0-9]', '', 'g') AND a.alias < b.alias
        WHERE a.model_id <> b.model_id
        """,
    ),
    Rule(
        "role",
        "a role that its name or its architecture denies",
        "models",
        """
        SELECT model_id, 'wrong', format('{} has the architecture {}, which writes no text; its role is {}.', model_id,
                                         architecture, role)
        FROM models WHERE regexp_matches(architecture, 'bert|^t5encoder') AND role NOT IN ('embedding', 'reranker')
        UNION ALL
        SELECT model_id, 'wrong', format('{} says {} in its name; its role is {}.', model_id, w.word, role)
        FROM models JOIN (VALUES
            ('embedding', ['embed', 'embedding', 'embeddings'], ['embedding']),
            ('reranker', ['rerank', 'reranker'], ['reranker']),
            ('guard', ['guard'], ['guard']),
            ('base', ['base'], ['base']),
            ('thinking', ['think', 'thinking', 'reasoning', 'reasoner'], ['thinking', 'hybrid', 'vision', 'code']),
            ('instruct', ['instruct', 'chat'], ['instruct', 'hybrid', 'code', 'vision', 'audio', 'translation',
             'thinking', 'diffusion', 'guard', 'embedding'])
        ) w (word, spellings, roles) ON says(model_id, w.spellings)
        WHERE NOT list_contains(w.roles, role)
        UNION ALL
        SELECT model_id, 'wrong', format('{} has the role {}, and thinking is ''{}''.', model_id, role, thinking)
        FROM models WHERE (role = 'thinking' AND thinking <> 'yes') OR (role = 'hybrid' AND thinking <> 'hybrid')
            OR (role = 'instruct' AND thinking <> 'no') OR (role IN ('embedding', 'reranker') AND thinking <> 'no')
        UNION ALL
        SELECT model_id, 'wrong', format('{} has the role {}, and tool_calling is ''{}''.', model_id, role,
                                         tool_calling)
        FROM models WHERE role IN ('embedding', 'reranker', 'reward', 'guard') AND tool_calling = 'yes'
        UNION ALL
        SELECT model_id, 'wrong', format('{} {}, and takes only {}.', model_id,
               CASE role WHEN 'vision' THEN 'has the role vision' WHEN 'audio' THEN 'has the role audio'
                   ELSE 'says in its name that it sees' END, modalities)
        FROM models
        WHERE (role = 'vision' OR says(model_id, ['vl', 'vlm', 'vision'])) AND NOT contains(modalities, 'image')
            OR role = 'audio' AND NOT contains(modalities, 'audio')
        """,
    ),
    Rule(
        "tier",
        "a tier that its size does not have",
        "models",
        f"""
        SELECT model_id, 'wrong', format('{{}} has {{:,}} parameters, which is {{}}; its row says {{}}.', model_id,
                                         params_total, right_tier, tier)
        FROM (SELECT *, {_TIER} ELSE 'Large' END AS right_tier FROM models) WHERE tier <> right_tier
        """,
    ),
)
