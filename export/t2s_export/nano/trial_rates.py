_r=stage.rate
def rate(name):
    if "cross_attn_image_to_token" in name and ("q_proj" in name or "k_proj" in name): return .03
    if "cross_attn_image_to_token" in name: return .3
    return _r(name)
stage.rate=rate
_init=TrainingLoop.__init__
def init(self,*a,**k):
    _init(self,*a,**k)
    sd=torch.load("runs/exp_r/state.pt")["model"]
    self.model.load_state_dict(sd); self.average.load_state_dict(sd)

