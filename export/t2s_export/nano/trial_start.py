import sys, dataclasses
from pathlib import Path
import numpy as np, torch
kv=dict(a.split("=") for a in sys.argv[1:])
import t2s_export.nano.sam_stage as ss
from t2s_export.nano.augment import cartoon
from t2s_export.nano.data import ShardSet
from t2s_export.nano.checkpoints import load
from t2s_export.nano.loop import Budget, TrainingLoop
if __name__=="__main__":
    tag=kv["tag"]; minutes=float(kv.get("minutes",5)); c=float(kv.get("cartoon",1))
    orig=ss.augment
    if c: ss.augment=lambda s,size,rng: cartoon(orig(s,size,rng),c*float(rng.uniform(.8,1)),rng)
    ss._WINDOWS=((2.0,int(kv.get("win",192))),); ss._GEOMETRY_UNTIL=float(kv.get("geo",.08))
    folder=next(Path("runs/b").glob("shards-*"))
    stage=ss.SamStage(ShardSet(folder), trunk=load("clip",Path("runs/b/ckpt")) if int(kv.get("trunk",1)) else None)
    stage.hyper=dataclasses.replace(stage.hyper,lanes=int(kv.get("lanes",2)),lr=float(kv.get("lr",1.5e-3)),muon_rate=float(kv.get("muon",2)),flat=float(kv.get("flat",.6)),ema=.99,mixed=bool(int(kv.get("mixed",1))))
    if "patch" in kv: exec(open(kv["patch"]).read())
    loop=TrainingLoop(stage, Path(f"runs/exp_{tag}"), Budget(minutes), torch.device("cpu"), 0, 1)
    loop.clear()
    last=[0]
    def on_step(p,spent,means):
        if p.seconds-last[0]>20:
            last[0]=p.seconds
            print(f"{p.seconds/60:.1f}m {p.images}", {k:round(v,3) for k,v in means.items() if k in('box_iou','point_iou','box_mask','point_mask','class_map','norm')},flush=True)
    if not int(kv.get("val",0)): stage.validate=lambda m:{}
    loop.run(on_step, lambda f: print(f), 100)
