"""The official checkpoints and vocabularies: what they are, where they lie, how to know them again.

One row per file. Where the facts of a row were seen:

- SAM, MobileSAM and Grounding DINO ``.pth``/``.pt``: addresses from the projects' own README;
  SHA-256 and bytes from the Git LFS pointers of copies on huggingface.co (for Swin-B and MobileSAM
  the authors' own: ShilongLiu/GroundingDINO, dhkim2810/MobileSAM; for SAM and Swin-T several
  copies that agree).
- ``.safetensors`` of facebook and IDEA-Research, and LAION's ``.bin``: SHA-256 from the pages of
  those very files on huggingface.co, which give bytes only rounded: no size is recorded.
- OpenAI CLIP: address and SHA-256 from open_clip's ``pretrained.py`` (the hash is in the address);
  bytes from LFS pointers with the same hash.
- RemoteCLIP and GeoRSCLIP: the commits that added the files to the authors' repositories.
- Vocabularies: measured on the files themselves; that of BERT was put together again from copies
  and has the hash of the official file.
- Licences: from the projects' pages; where they are silent or at odds, a comment says so.

A fact that was not found is None: ``pull`` then says so, and ``verify`` can only tell a change.
Addresses on huggingface.co name the commit where it is known, else the branch. None of these
files could be fetched where this table was written: the addresses are cited, not tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from t2s_rt.errors import UsageError

__all__ = ["FAMILIES", "FORMATS", "MODELS", "Family", "Format", "ModelEntry", "find_model"]

Family = Literal[
    "sam",
    "mobile_sam",
    "grounding_dino",
    "clip",
    "laion_clip",
    "remote_clip",
    "georsclip",
    "vocabulary",
]
Format = Literal["torch", "torchscript", "safetensors", "text", "json"]

FAMILIES: Final[tuple[str, ...]] = get_args(Family)
FORMATS: Final[tuple[str, ...]] = get_args(Format)


@dataclass(frozen=True)
class ModelEntry:
    """One official file.

    Attributes:
        id: what users call it: the official file's stem where that tells it apart.
        family: which loader understands it.
        architecture: the size within the family, in the words of its project.
        format: of the file; ``torch`` and ``torchscript`` hold pickles.
        file: its name in the folder of checkpoints, unique among all rows.
        url: where it is published.
        licence: SPDX, or in words what its publisher says.
        sha256: of its content, lower-case hexadecimal; None where no source gives it.
        bytes: its length; None where no source gives it exactly.
        quick_gelu: CLIP only: whether its layers compute ``x * sigmoid(1.702 x)`` rather than
            GELU; None for what is no CLIP model.
    """

    id: str
    family: Family
    architecture: str
    format: Format
    file: str
    url: str
    licence: str
    sha256: str | None = None
    bytes: int | None = None
    quick_gelu: bool | None = None


def find_model(model_id: str) -> ModelEntry:
    """The row with this id.

    Raises:
        UsageError: there is none; the message names those that look alike.
    """
    for entry in MODELS:
        if entry.id == model_id:
            return entry
    from difflib import get_close_matches

    known = {entry.id.lower(): entry.id for entry in MODELS}
    word = model_id.lower()
    near = [known[name] for name in known if word in name][:3] if len(word) > 2 else []
    near = near or [known[name] for name in get_close_matches(word, known, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UsageError(
        f"expected the id of a checkpoint, found {model_id!r}; {hint}all ids: t2s-rt models list"
    )


_SAM = "https://dl.fbaipublicfiles.com/segment_anything"
_DINO = "https://github.com/IDEA-Research/GroundingDINO/releases/download"
_CLIP = "https://openaipublic.azureedge.net/clip/models"
_HUB = "https://huggingface.co"


def _sam(architecture: str, tail: str, sha256: str, length: int) -> ModelEntry:
    name = f"sam_{architecture}_{tail}"
    return ModelEntry(
        name,
        "sam",
        architecture,
        "torch",
        f"{name}.pth",
        f"{_SAM}/{name}.pth",
        "Apache-2.0",
        sha256,
        length,
    )


def _hub(
    model_id: str, family: Family, architecture: str, repository: str, revision: str, sha256: str
) -> ModelEntry:
    """A ``model.safetensors`` of transformers, stored under its repository's name."""
    url = f"{_HUB}/{repository}/resolve/{revision}/model.safetensors"
    file = f"{model_id}.safetensors"
    return ModelEntry(
        model_id, family, architecture, "safetensors", file, url, "Apache-2.0", sha256
    )


def _openai(architecture: str, sha256: str, length: int | None) -> ModelEntry:
    return ModelEntry(
        f"openai-clip-{architecture}",
        "clip",
        architecture,
        "torchscript",
        f"{architecture}.pt",
        f"{_CLIP}/{sha256}/{architecture}.pt",
        "MIT",
        sha256,
        length,
        quick_gelu=True,
    )


def _laion(architecture: str, name: str, sha256: str | None) -> ModelEntry:
    return ModelEntry(
        name,
        "laion_clip",
        architecture,
        "torch",
        f"{name}.bin",
        f"{_HUB}/laion/{name}/resolve/main/open_clip_pytorch_model.bin",
        "MIT",
        sha256,
        quick_gelu=False,
    )


def _remote(architecture: str, sha256: str, length: int) -> ModelEntry:
    name = f"RemoteCLIP-{architecture}"
    revision = "bf1d8a3ccf2ddbf7c875705e46373bfe542bce38"
    return ModelEntry(
        name,
        "remote_clip",
        architecture,
        "torch",
        f"{name}.pt",
        f"{_HUB}/chendelong/RemoteCLIP/resolve/{revision}/{name}.pt",
        # neither the model's page nor its repository's README names one
        "not stated by its authors",
        sha256,
        length,
        # its README loads it into open_clip's ViT-B-32 and ViT-L-14, which compute GELU
        quick_gelu=False,
    )


def _georsclip(architecture: str, sha256: str | None, length: int | None) -> ModelEntry:
    name = f"RS5M_{architecture}"
    revision = "4920188e6eba4e711ef9848cfd7cb77e874ee33f"
    return ModelEntry(
        name,
        "georsclip",
        architecture,
        "torch",
        f"{name}.pt",
        f"{_HUB}/Zilun/GeoRSCLIP/resolve/{revision}/ckpt/{name}.pt",
        # the page said CC-BY-4.0 at first and says "cc" now
        "Creative Commons, version not stated",
        sha256,
        length,
        # its README loads ViT-B-32 into open_clip's model with OpenAI's weights, which computes
        # QuickGELU; ViT-L-14 is taken to be alike, no text says so
        quick_gelu=True,
    )


MODELS: Final[tuple[ModelEntry, ...]] = (
    _sam(
        "vit_b",
        "01ec64",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
    _sam(
        "vit_l",
        "0b3195",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    _sam(
        "vit_h",
        "4b8939",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
    _hub(
        "sam-vit-base",
        "sam",
        "vit_b",
        "facebook/sam-vit-base",
        "d0d9250bd6a38ebbb901aa29e8d37787e366f7be",
        "892c410e496344e527255ccdcb2cb7244a609acb5389c7c4fdba1288f861c579",
    ),
    _hub(
        "sam-vit-large",
        "sam",
        "vit_l",
        "facebook/sam-vit-large",
        "main",
        "a57e1b13cd1545938dfcbc9fb26df7f60de6650237a9383382a874a623564b81",
    ),
    _hub(
        "sam-vit-huge",
        "sam",
        "vit_h",
        "facebook/sam-vit-huge",
        "main",
        "edfb0462392541fca9af44ff039bfb32dbd0c939997f3abb77a26e23af7afd7c",
    ),
    ModelEntry(
        "mobile_sam",
        "mobile_sam",
        "tiny_vit",
        "torch",
        "mobile_sam.pt",
        "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        # so say its README and its authors' demo; the tag of their model page says MIT
        "Apache-2.0",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        40_728_226,
    ),
    ModelEntry(
        "groundingdino_swint_ogc",
        "grounding_dino",
        "swin_t",
        "torch",
        "groundingdino_swint_ogc.pth",
        f"{_DINO}/v0.1.0-alpha/groundingdino_swint_ogc.pth",
        "Apache-2.0",
        "3b3ca2563c77c69f651d7bd133e97139c186df06231157a64c507099c52bc799",
        693_997_677,
    ),
    ModelEntry(
        "groundingdino_swinb_cogcoor",
        "grounding_dino",
        "swin_b",
        "torch",
        "groundingdino_swinb_cogcoor.pth",
        f"{_DINO}/v0.1.0-alpha2/groundingdino_swinb_cogcoor.pth",
        "Apache-2.0",
        "46270f7a822e6906b655b729c90613e48929d0f2bb8b9b76fd10a856f3ac6ab7",
        938_057_991,
    ),
    _hub(
        "grounding-dino-tiny",
        "grounding_dino",
        "swin_t",
        "IDEA-Research/grounding-dino-tiny",
        "25b0b43915cfc9e5dcb573031e99514eb7838d57",
        "1a2412ef99bd74bcd3c2a246fa1e48581f8889a1300c9051974741314fc042f3",
    ),
    _hub(
        "grounding-dino-base",
        "grounding_dino",
        "swin_b",
        "IDEA-Research/grounding-dino-base",
        "a062f8edaf7f3aa52714a8f80cb8db7de1e5e170",
        "5548f844c928c4b6f411fa8cbcc2bfa8dbbba437cb1d513975519f93c2a9ed21",
    ),
    _openai(
        "ViT-B-32",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        353_976_522,
    ),
    _openai(
        "ViT-B-16",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        350_837_078,
    ),
    _openai(
        "ViT-L-14",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        932_768_134,
    ),
    _openai(
        "ViT-L-14-336px",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        None,
    ),
    _laion(
        "ViT-B-32",
        "CLIP-ViT-B-32-laion2B-s34B-b79K",
        "1bd3c7172de5b207ceac554f5ab5266166f3b9baccc9af5989bc801016d080ad",
    ),
    _laion("ViT-B-16", "CLIP-ViT-B-16-laion2B-s34B-b88K", None),
    _laion(
        "ViT-L-14",
        "CLIP-ViT-L-14-laion2B-s32B-b82K",
        "5ddb47339f44e4fd9cace3d3960d38af1b51a25857440cfae90afc44706d7e2b",
    ),
    _remote(
        "ViT-B-32",
        "60014e395d930a3f2963d1d89c8522bf4ad56775571e4356e866864789af85c4",
        605_208_421,
    ),
    _remote(
        "ViT-L-14",
        "fcc2a7e21e171f4ffcb7a9c0206b8b74ac0c9eb83c67b576958b7a4ed6c8cecb",
        1_710_613_765,
    ),
    _georsclip("ViT-B-32", None, None),
    _georsclip(
        "ViT-L-14",
        "9119b7731c17dd66fae13619203f33900946fe0660095ed54d8e6c7cfe8d03c0",
        1_710_635_010,
    ),
    ModelEntry(
        "bert-base-uncased-vocab",
        "vocabulary",
        "bert-base-uncased",
        "text",
        "bert-base-uncased-vocab.txt",
        f"{_HUB}/google-bert/bert-base-uncased/resolve/main/vocab.txt",
        "Apache-2.0",
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        231_508,
    ),
    ModelEntry(
        "bpe_simple_vocab_16e6",
        "vocabulary",
        "CLIP",
        "text",
        "bpe_simple_vocab_16e6.txt.gz",
        "https://github.com/openai/CLIP/raw/main/clip/bpe_simple_vocab_16e6.txt.gz",
        "MIT",
        "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
        1_356_917,
    ),
)
"""Every file that ``t2s-rt models`` knows, in the order of the list it prints."""
