"""MobileSAM's image encoder of timm's TinyViT blocks."""

from t2s_bench.reference.mobile_sam import MobileSamEncoder, official_names, randomise_statistics

__all__ = ["MobileSamEncoder", "official_names", "randomise_statistics"]
