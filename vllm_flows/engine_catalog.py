"""What vLLM has and no longer has: model architectures, quantizations, flags. Facts as data.

Read from vLLM's own sources: the registry of models and the list of quantizations of 0.32.0,
the flags of 0.11.0, 0.20.0 and 0.32.0 (those of requests and rotary embeddings of releases
between as well); the Transformers classes from Transformers 5.24. A version "without" something
is the first one of which that is known; it may have gone earlier.
"""

from __future__ import annotations

from collections.abc import Mapping

Version = tuple[int, ...]
"""A release as numbers: (0, 11, 0)."""

NEWEST: Version = (0, 32, 0)
"""The release these tables were read from; a newer one may know more."""

DEFAULT_UTILIZATION: Mapping[Version, float] = {(0, 0, 0): 0.9, (0, 20, 0): 0.92}
"""vLLM's own `gpu_memory_utilization` and the first release with it, oldest first.

Source: vllm/config/cache.py of 0.18.0, 0.19.0, 0.19.1, 0.20.0 and 0.32.0.
"""

_CAUSAL = """
    AXK1 Afmoe Apertus Arcee BailingMoe BailingMoeV2 BailingMoeV2_5 BailingMoeV3 Bloom Cohere2
    Cohere2Moe Cohere Cwm Dbrx DeciLM Deepseek DeepseekOCR2 DeepseekOCR DeepseekV2 DeepseekV32
    DeepseekV3 DeepseekV41 DeepseekV4 DeepseekVLV2 Dots3Note DotsOCR Ernie4_5 Ernie4_5_Moe
    Exaone4 Exaone ExaoneMoE ExaoneMoe Falcon FalconH1 FalconMamba FlexOlmo GLM4V GPTBigCode
    GPTJ GPTNeoX Gemma2 Gemma3 Gemma3n Gemma4 Gemma Glm4 Glm4Moe Glm4MoeLite Glm5Next Glm
    GlmMoeDsa GptOss Granite GraniteMoe GraniteMoeHybrid GraniteMoeSWA GraniteMoeShared
    GraniteSWA HCXVisionV2 HYV3 HYV4 HrmText HunYuanDenseV1 HunYuanMoEV1 HyperCLOVAX IQuestCoder
    IQuestLoopCoder Inkling InternLM2 InternLM3 Jais2 Jamba K2Horizon KimiLinear LLaMA Laguna
    Lfm2 Lfm2Moe Llama4 Llama LongcatFlash LongcatFlashNgram Mamba2 Mamba Mellum MiMo
    MiMoV2Flash MiMoV2 MiMoV2Omni MiniCPM3 MiniCPM MiniMaxM2 MiniMaxM3Sparse Ministral3 Mistral
    MistralLarge3 Mixtral Molmo Moondream3 MoonshotKimia MuseGlimmer Nanbeige Nemotron NemotronH
    NemotronHPuzzle OPT Olmo2 Olmo3 Olmo OlmoHybrid Olmoe Orion Ovis2_6 Ovis2_6_Moe
    PanguEmbedded PanguProMoEV2 PanguUltraMoE Param2MoE Phi3 Phi3V Phi4MM Phi PhiMoE Plamo3
    Qwen2 Qwen2Moe Qwen3 Qwen3Moe Qwen3Next Qwen3_5 Qwen3_5Moe Qwen4Exp Rnj1 SarvamMLA SarvamMoE
    SeedOss SmolLM3 Solar StableLm Starcoder2 Step1 Step3Text Step3p5 TeleChat2 TeleChat3
    TeleFLM Transformers TransformersMoE TransformersMultiModal TransformersMultiModalMoE
    UnlimitedOCR VaultGemma Zamba2
"""
_CONDITIONAL = """
    Aria AudioFlamingo3 Bagel BailingMoeV3VL Bee Blip2 ChatGLM Cohere2Vision CohereAsr
    CohereCompass Cosmos3Edge Cosmos3 DeepseekV4 Eagle2_5_VL Emu3 Ernie4_5_VLMoe Exaone4_5_
    FireRedASR2 FunASR FunAudioChat Gemma3 Gemma3n Gemma4 Gemma4Unified Glm4v Glm4vMoe Glm5Next
    GlmAsr GlmOcr Granite4Vision GraniteSpeech GraniteSpeechPlus HunYuanVL Idefics3 Inkling
    InternS1 InternS1Pro InternS2Mobius InternS2Preview InternVL Isaac KananaV Keye KeyeVL1_5
    KimiK25 KimiK3 KimiVL Lfm2Vl LightOnOCR Llama4 Llava LlavaNext LlavaNextVideo
    LlavaOnevision2 LlavaOnevision MiniCPMV4_6 MiniCPMV4_7 MiniMaxM3Sparse Mistral3 Molmo2
    MossTranscribeDiarize MuseGlimmer NemotronParse OpenCUA OpenPanguVL PaddleOCRVL PaliGemma
    Pixtral QianfanOCR Qwen2Audio Qwen2VL Qwen2_5Omni Qwen2_5_VL Qwen3ASR Qwen3OmniMoe Qwen3VL
    Qwen3VLMoe Qwen3_5 Qwen3_5Moe Qwen4Exp R SmolVLM Step3VL Step3p7 StepVL VibeVoiceAsr Voxtral
    Whisper
"""
_CAUSAL_BY_TRANSFORMERS = """
    AXK2 Apertus1p5Text AriaText BailingHybrid Bamba Bart Beam BigBirdPegasus BioGpt BitNet
    Blenderbot BlenderbotSmall Blt Camembert CodeGen CohereCompass Data2VecText DiffLlama Doge
    Dory Dots1 Electra Emu3 Ernie Flint Fuyu Gemma4Unified Git Helium Inkling2 Inkling2Loop
    JetMoe Kolibri1 Kosmos2Text Kosmos2_5Text LaraMini Lfm3 MBart Marian MiniMax MiniMaxM3VL
    Ministral Mistral4 Mllama ModernBertDecoder Moshi Musicgen MusicgenMelody NanoChat PLBart
    Pegasus Persimmon Phi4Multimodal Phimoe RecurrentGemma RoCBert Roberta RobertaPreLayerNorm
    SolarOpen Whisper XLMRoberta XLMRobertaXL Xmod Youtu Zamba Zaya
"""
_CONDITIONAL_BY_TRANSFORMERS = """
    Apertus1p5 AyaVision BigBirdPegasus Blenderbot BlenderbotSmall Canary Chameleon Cosmos3Omni
    Csm DeepseekOcr2 Dia Dots3Note Ernie4_5_VL_Moe FastVlm FunAsrNano Glm46V GlmImage GotOcr2
    GraniteDocling HYV4VL HiggsAudioV2 HyperCLOVAXVisionV2 Idefics2 Inkling2 Inkling2Loop
    InstructBlip InstructBlipVideo Janus Kimi_K25 Kosmos2 Kosmos2_5 KyutaiSpeechToText Lfm3Vl
    LightOnOcr LongT5 M2M100 MT5 MiniCPMOcr MistralLarge4 Mllama Moonshine MoonshineStreaming
    Moshi MuseSpark MusicFlamingo Musicgen MusicgenMelody Nemotron3_5Transcribe NllbMoe OmniASR
    Ovis2 PI0 PLBart PPFormulaNet Pegasus PegasusX PerceptionLM Pix2Struct Pop2Piano
    Qwen2_5OmniThinker Qwen3OmniMoeThinker Speech2Text SwitchTransformers T5 T5Gemma2 T5Gemma
    UMT5 Udop UnlimitedOcr VibeVoice VideoLlama3 VideoLlava VipLlava VoxtralRealtime
"""

GENERATIVE: frozenset[str] = frozenset(
    [f"{name}ForCausalLM" for name in (_CAUSAL + _CAUSAL_BY_TRANSFORMERS).split()]
    + [
        f"{name}ForConditionalGeneration"
        for name in (_CONDITIONAL + _CONDITIONAL_BY_TRANSFORMERS).split()
    ]
    + ["BertLMHeadModel", "CTRLLMHeadModel", "GPT2LMHeadModel"]
)
"""Generating architectures that vLLM serves: its own, or by falling back to Transformers."""

LAST_VERSION_WITH: Mapping[str, Version] = {
    "AquilaForCausalLM": (0, 24, 0),
    "AquilaModel": (0, 24, 0),
    "ArcticForCausalLM": (0, 28, 0),
    "BaiChuanForCausalLM": (0, 23, 0),
    "BaichuanForCausalLM": (0, 23, 0),
    "Cheers": (0, 28, 0),
    "CheersForConditionalGeneration": (0, 28, 0),
    "DonutForConditionalGeneration": (0, 10, 2),
    "Fairseq2LlamaForCausalLM": (0, 28, 0),
    "FireRedLIDForConditionalGeneration": (0, 28, 0),
    "GritLM": (0, 28, 0),
    "Grok1ForCausalLM": (0, 24, 0),
    "Grok1ModelForCausalLM": (0, 24, 0),
    "HCXVisionForCausalLM": (0, 28, 0),
    "InternLM2VEForCausalLM": (0, 23, 0),
    "InternLMForCausalLM": (0, 23, 0),
    "JAISLMHeadModel": (0, 22, 0),
    "MPTForCausalLM": (0, 28, 0),
    "MantisForConditionalGeneration": (0, 24, 0),
    "MiniMaxM1ForCausalLM": (0, 23, 0),
    "MiniMaxText01ForCausalLM": (0, 23, 0),
    "MiniMaxVL01ForConditionalGeneration": (0, 23, 0),
    "MotifForCausalLM": (0, 10, 2),
    "MptForCausalLM": (0, 28, 0),
    "OuroForCausalLM": (0, 26, 0),
    "Phi3SmallForCausalLM": (0, 9, 2),
    "Phi4FlashForCausalLM": (0, 10, 2),
    "Plamo2ForCausalLM": (0, 26, 0),
    "PrithviGeoSpatialMAE": (0, 28, 0),
    "QWenLMHeadModel": (0, 23, 0),
    "QwenVLForConditionalGeneration": (0, 23, 0),
    "RWForCausalLM": (0, 28, 0),
    "StableLMEpochForCausalLM": (0, 28, 0),
    "Tarsier2ForConditionalGeneration": (0, 23, 0),
    "TarsierForConditionalGeneration": (0, 24, 0),
    "TeleChatForCausalLM": (0, 25, 0),
    "XverseForCausalLM": (0, 23, 0),
}
"""Architectures that vLLM had, and the last release that had them."""

OUT_OF_TREE: frozenset[str] = frozenset(
    {
        "BartForConditionalGeneration",
        "Florence2ForConditionalGeneration",
        "MBartForConditionalGeneration",
    }
)
"""Architectures that need vLLM's plugin for BART, which its image does not hold."""

_QUANTIZATIONS = """
    auto-round auto_awq auto_gptq awq awq_marlin bitblas bitsandbytes compressed-tensors
    deepseek_v4_fp8 deepspeedfp experts_int8 fbgemm_fp8 fp8 fp_quant gguf gpt_oss_mxfp4 gptq
    gptq_bitblas gptq_marlin gptq_marlin_24 hqq humming inc ipex modelopt modelopt_fp4
    modelopt_mixed modelopt_mxfp8 moe_wna16 mxfp4 mxfp8 online petit_nvfp4 ptpc_fp8 quark rtn
    torchao tpu_int8
"""
QUANTIZATIONS: frozenset[str] = frozenset(_QUANTIZATIONS.split())
"""Values of `quant_method` that some release since 0.11.0 takes."""

QUANTIZATION_GONE: Mapping[str, Version] = {
    "bitblas": (0, 20, 0),
    "bitsandbytes": (0, 28, 0),
    "deepspeedfp": (0, 20, 0),
    "gguf": (0, 32, 0),
    "gptq_bitblas": (0, 20, 0),
    "gptq_marlin_24": (0, 20, 0),
    "hqq": (0, 20, 0),
    "ipex": (0, 20, 0),
    "petit_nvfp4": (0, 20, 0),
    "ptpc_fp8": (0, 20, 0),
    "rtn": (0, 20, 0),
    "tpu_int8": (0, 20, 0),
}
"""Quantizations, and the first release known to be without them (some became plugins)."""

QUANTIZATION_FAMILY: Mapping[str, str] = {
    **dict.fromkeys(("awq", "auto_awq", "awq_marlin"), "awq"),
    **dict.fromkeys(("gptq", "auto_gptq", "gptq_marlin"), "gptq"),
    **{name: name for name in ("bitsandbytes", "compressed-tensors", "fp8")},
}
"""Methods that vLLM takes for no other but those of the same family.

Source: the classes' `override_quantization_method` in 0.11.2, 0.20.0 and 0.32.0.
"""

_AWQ_FILES = ("quant_config.json", "quantize_config.json")
QUANTIZATION_FILES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("awq", "auto_awq", "awq_marlin"), _AWQ_FILES),
    **dict.fromkeys(("gptq", "auto_gptq", "gptq_marlin", "moe_wna16"), ("quantize_config.json",)),
    **dict.fromkeys(("modelopt", "modelopt_fp4"), ("hf_quant_config.json",)),
}
"""Methods for weights that are quantized already, and the files of which vLLM needs one where
config.json says nothing of it: a file's name ends so.

Source: the classes' `get_config_filenames` in 0.11.2, 0.20.0 and 0.32.0.
"""

BFLOAT16_ONLY: frozenset[str] = frozenset({"fp_quant", "gpt_oss_mxfp4", "mxfp4"})
"""Quantizations that compute in bfloat16 alone."""

NO_FLOAT16: frozenset[str] = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
"""Values of `model_type` for which vLLM refuses float16."""

FLAG_GONE: Mapping[str, Version] = {
    "--calculate-kv-scales": (0, 28, 0),
    "--disable-async-output-proc": (0, 11, 0),
    "--disable-log-requests": (0, 17, 0),
    "--disable-mm-preprocessor-cache": (0, 20, 0),
    "--enable-lora-bias": (0, 20, 0),
    "--enable-multimodal-encoder-data-parallel": (0, 20, 0),
    "--enable-prompt-adapter": (0, 11, 0),
    "--enable-reasoning": (0, 11, 0),
    "--engine-use-ray": (0, 11, 0),
    "--eplb-log-balancedness": (0, 20, 0),
    "--eplb-step-interval": (0, 20, 0),
    "--eplb-window-size": (0, 20, 0),
    "--guided-decoding-backend": (0, 20, 0),
    "--guided-decoding-disable-additional-properties": (0, 20, 0),
    "--guided-decoding-disable-any-whitespace": (0, 20, 0),
    "--guided-decoding-disable-fallback": (0, 20, 0),
    "--logits-processor-pattern": (0, 20, 0),
    "--lora-extra-vocab-size": (0, 20, 0),
    "--max-long-partial-prefills": (0, 32, 0),
    "--max-num-partial-prefills": (0, 32, 0),
    "--max-seq-len-to-capture": (0, 11, 0),
    "--multi-step-stream-outputs": (0, 11, 0),
    "--num-lookahead-slots": (0, 20, 0),
    "--num-redundant-experts": (0, 20, 0),
    "--num-scheduler-steps": (0, 11, 0),
    "--num-speculative-tokens": (0, 11, 0),
    "--override-attention-dtype": (0, 28, 0),
    "--override-neuron-config": (0, 11, 0),
    "--override-pooler-config": (0, 20, 0),
    "--preemption-mode": (0, 11, 0),
    "--quantization-param-path": (0, 11, 0),
    "--rope-scaling": (0, 12, 0),
    "--rope-theta": (0, 12, 0),
    "--speculative-model": (0, 11, 0),
    "--swap-space": (0, 18, 0),
    "--task": (0, 20, 0),
    "--tokenizer-pool-size": (0, 11, 0),
    "--use-v2-block-manager": (0, 11, 0),
    "--worker-use-ray": (0, 11, 0),
}
"""Flags of `vllm serve`, and the first release known to be without them."""

_ROTARY = (
    'replace it by --hf-overrides={"rope_parameters": {...}} in vllmConfig.extraArgs in '
    "models.yaml, with rope_type and rope_theta among the parameters"
)
FLAG_INSTEAD: Mapping[str, str] = {
    "--disable-log-requests": "remove it from vllmConfig.extraArgs in models.yaml: vLLM logs no "
    "requests by itself",
    "--rope-scaling": _ROTARY,
    "--rope-theta": _ROTARY,
}
"""What to do about flags that are gone and that more can be said of than to remove them."""
