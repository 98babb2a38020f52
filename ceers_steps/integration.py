"""What stpipe learns about this package: names only, no step is imported (`strun` stays fast)."""

__all__ = ["get_steps"]


def get_steps() -> list[tuple[str, str, bool]]:
    """Return ``(class path, alias, is_pipeline)`` of every Step and Pipeline of the package."""
    return [
        ("ceers_steps.AlignStep", "ceers_align", False),
        ("ceers_steps.CeersDetector1", "ceers_detector1", True),
        ("ceers_steps.CeersImage2", "ceers_image2", True),
        ("ceers_steps.CeersImage3", "ceers_image3", True),
        ("ceers_steps.ImageBackgroundStep", "ceers_image_background", False),
        ("ceers_steps.JumpCheckStep", "ceers_jump_check", False),
        ("ceers_steps.MosaicBackgroundStep", "ceers_mosaic_background", False),
        ("ceers_steps.RateErrorsStep", "ceers_rate_errors", False),
        ("ceers_steps.RemStripingStep", "ceers_remstriping", False),
        ("ceers_steps.SkyVarStep", "ceers_skyvar", False),
        ("ceers_steps.SnowballStep", "ceers_snowball", False),
        ("ceers_steps.TiledResampleStep", "ceers_tiled_resample", False),
        ("ceers_steps.TrappedChargeStep", "ceers_trapped_charge", False),
        ("ceers_steps.UpdateWcsStep", "ceers_update_wcs", False),
        ("ceers_steps.WispSubStep", "ceers_wispsub", False),
    ]
