import sys, time, math
sys.path.insert(0,"export")
kv=dict(a.split("=") for a in sys.argv[1:])
import numpy as np, cv2, torch, dataclasses
torch.set_num_threads(1)
from t2s_export.architectures.sam import SAM_NANO, Sam
from t2s_export.nano.sam_positions import place_positions, _channels
from t2s_export.nano.sam_stage import _group_loss
from t2s_export.nano.sam_prompts import PromptGroup
from t2s_export.nano.windowed_sam import WindowedSam
from t2s_export.nano.optimiser import MuonAdamW
SIDE=int(kv.get("side",64))
def scene(rng):
    S=SIDE; img=np.zeros((S,S,3),np.float32); img[:]=rng.uniform(-1.5,1.5,3)
    inst=np.zeros((S,S),np.int32)
    n=int(rng.integers(2,7))
    for k in range(1,n+1):
        size=math.exp(rng.uniform(math.log(7),math.log(.6*S))); c=rng.uniform(0,S,2); a=rng.uniform(.35,1)
        m=np.zeros((S,S),np.uint8); kind=rng.integers(3); ang=rng.uniform(0,180)
        if kind==0:
            cv2.fillPoly(m,[np.round(cv2.boxPoints((tuple(c),(size,size*a),ang))).astype(np.int32)],1)
        elif kind==1: cv2.ellipse(m,(tuple(c),(size,size*a),ang),1,-1)
        else:
            t=np.sort(rng.uniform(0,2*np.pi,7)); r=size/2*rng.uniform(.4,1,7)
            cv2.fillPoly(m,[np.round(c+np.stack([np.cos(t)*r,np.sin(t)*r],1)).astype(np.int32)],1)
        w=m>0; inst[w]=k; img[w]=rng.uniform(-1.5,1.5,3)
    return img,inst
def batch(rng,proj,free):
    while True:
        img,inst=scene(rng)
        ids=[k for k in np.unique(inst) if k and (inst==k).sum()>=16]
        if ids: break
    masks=[];boxes=[];pts=[]
    for k in ids:
        m=inst==k; r,c=np.nonzero(m); boxes.append((c.min(),r.min(),c.max()+1,r.max()+1))
        masks.append(m.reshape(SIDE//2,2,SIDE//2,2).mean((1,3)))
        i=rng.integers(len(r)); pts.append((c[i]+.5,r[i]+.5))
    b=np.array(boxes,np.float32); b+=rng.uniform(-1,1,b.shape)*.05*np.tile(b[:,2:]-b[:,:2],2)*(rng.random()<.5)
    img+=rng.standard_normal(img.shape)*.1
    x=torch.from_numpy(img.astype(np.float32)).permute(2,0,1)[None]
    x=torch.nn.functional.pixel_unshuffle(torch.nn.functional.avg_pool2d(x,2),4)
    e=torch.zeros(1,128,SIDE//8,SIDE//8); e[:,free]=torch.einsum('bchw,cd->bdhw',x,proj)
    mk=torch.from_numpy(np.stack(masks).astype(np.float32))
    g=[PromptGroup(torch.from_numpy(b.reshape(-1,2,2)-.5),torch.tensor([[2.,3.]]).expand(len(b),2),mk,True)]
    if float(kv.get("points",0)):
        p=np.zeros((len(b),2,2),np.float32); p[:,0]=pts
        g.append(PromptGroup(torch.from_numpy(p-.5),torch.tensor([[1.,-1.]]).expand(len(b),2),mk,False))
    return e,g
if __name__=="__main__":
    torch.manual_seed(0); rng=np.random.default_rng(0)
    cfg=SAM_NANO; sam=Sam(cfg); place_positions(sam)
    if kv.get("init")!="geo":pass
    ch=_channels(128,7); free=ch.content(128)[:64]
    proj=torch.nn.init.orthogonal_(torch.empty(48,len(free)))*1.3
    for p in sam.image_encoder.parameters(): p.requires_grad_(False)
    params=torch.nn.ModuleDict({"prompt_encoder":sam.prompt_encoder,"mask_decoder":sam.mask_decoder})
    slow=float(kv.get("slow",.03)); up=float(kv.get("up",.3))
    def rate(n):
        if "layers.0.cross_attn_image_to_token" in n and ("q_proj" in n or "k_proj" in n): return slow
        if "output_upscaling" in n or "layers.0.cross_attn_image_to_token" in n: return up
        return 1.
    lr=float(kv.get("lr",1e-3)); opt=MuonAdamW(params,lr,1e-2,rate,float(kv.get("muon",1)))
    win=WindowedSam(sam,SIDE); t0=time.time(); minutes=float(kv.get("minutes",4)); last=0; acc=[]; step=0
    B=int(kv.get("batch",4))
    while (el:=time.time()-t0)<60*minutes:
        f=min(1,(step+1)/50)*(1 if el<.5*60*minutes else .02+.98*.5*(1+math.cos(math.pi*(el/60/minutes-.5)/.5)))
        for gr in opt.param_groups: gr["lr"]=lr*f*gr["rate"]
        tot=0
        bs=[batch(rng,proj,free) for _ in range(B)]
        corner=tuple(int(v)*64 for v in rng.integers(0,(576-SIDE)//64+1,2))
        out,_=win(torch.cat([b[0] for b in bs]),[[(g.coords,g.labels,None) for g in b[1]] for b in bs],corner,encoded=True)
        for b,o in zip(bs,out):
            for g,(lo,iou) in zip(b[1],o):
                l,parts=_group_loss(lo,iou,g); tot=tot+l/B; acc.append(parts)
        for p in params.parameters(): p.grad=None
        tot.backward(); torch.nn.utils.clip_grad_norm_(params.parameters(),1.0); opt.step(); step+=1
        if el-last>20:
            last=el; ks={k for a in acc for k in a}
            print(f"{el/60:.1f}m step {step} rate {f:.2f}",{k:round(float(np.mean([a[k] for a in acc if k in a])),3) for k in sorted(ks)},flush=True); acc=[]
    torch.save(sam.state_dict(),f"runs/shapes_{kv.get('tag','a')}.pt")
