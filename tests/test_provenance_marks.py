"""The catalogue: every mark fires on its like, on nothing near it, and in no time."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from test_provenance_container import (
    PARAMETERS,
    TRAINED_XMP,
    app1,
    ascii_entry,
    chunk,
    jpeg,
    png,
    samsung_trailer,
    segment,
    text,
    tiff,
    user_comment,
    webp,
    xmp_packet,
)

from fakescan.provenance import describe, read_provenance
from fakescan.provenance.marks import Mark, find_marks, load_catalogue
from fakescan.provenance.metadata import MAX_VALUE_BYTES, Field
from fakescan.provenance.prompts import find_prompt
from fakescan.records import MetadataStatus, Says, Tier

SETTINGS = PARAMETERS.partition("\n")[2]
DST = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GRAPH = (
    '{"3":{"class_type":"KSampler","inputs":{"positive":["6",0],"negative":["7",0]}},'
    '"7":{"class_type":"CLIPTextEncode","inputs":{"text":"blurry"}},'
    '"6":{"class_type":"CLIPTextEncode","inputs":{"text":["9",0]}},'
    '"9":{"class_type":"StringConstant","inputs":{"string":"a red fox"}}}'
)
PLAIN_GRAPH = (
    '{"1":{"class_type":"LoadImage"},"2":{"class_type":"ImageScaleBy"},'
    '"3":{"class_type":"ImageUpscaleWithModel"},"4":{"class_type":"ResizeAndPadImage"},'
    '"5":{"class_type":"GetImageSize"},"6":{"class_type":"SaveImage"}}'
)
WORKFLOW = (
    '{"last_node_id":2,"nodes":[{"id":1,"type":"LoadImage","outputs":[{"type":"IMAGE"}]},'
    '{"id":2,"type":"%s"}]}'
)
INPAINT_GRAPH = (
    '{"1":{"class_type":"LoadImage","inputs":{"image":"holiday.jpg"}},'
    '"2":{"class_type":"VAEEncodeForInpaint","inputs":{}},'
    '"3":{"class_type":"KSampler","inputs":{}}}'
)
MASKED = PARAMETERS + ", Denoising strength: 0.7, Mask blur: 4, Inpaint area: Only masked"
NOVELAI = '{"prompt": "x", "request_type": "%s", "noise_schedule": "karras", "signed_hash": "AA=="}'
JOB_ID = "Job ID: 01234567-89ab-cdef-0123-456789abcdef"
LABEL = '{"Label":"1","ContentProducer":"001191110102MACQD9K64010000","ProduceID":"x"}'

# mark, a place of it, a value that carries it, the source that it names
EXAMPLES = [
    ("swarmui", "png_text:parameters", '{"sui_image_params": {"prompt": "x"}}', "SwarmUI"),
    ("ruined-fooocus", "png_text:parameters", '{"software": "RuinedFooocus"}', "RuinedFooocus"),
    ("fooocus-scheme", "png_text:fooocus_scheme", "fooocus", "Fooocus"),
    ("fooocus-json", "png_text:parameters", '{"prompt":"x","base_model":"y"}', "Fooocus"),
    ("easydiffusion", "exif:UserComment", '{"use_stable_diffusion_model":"m"}', "Easy Diffusion"),
    ("easydiffusion-chunk", "png_text:use_stable_diffusion_model", "sd-v1-5", "Easy Diffusion"),
    ("hf-space", "png_text:parameters", '{"prompt":"x","Model":"y","seed":1}', None),
    ("sdnext-app", "png_text:parameters", PARAMETERS + ", App: SD.Next", "SD.Next"),
    ("forge-version", "exif:UserComment", PARAMETERS + ", Version: f2.0.1v1", None),
    ("civitai-resources", "exif:UserComment", "x, Civitai resources: []", "Civitai generator"),
    ("a1111-version", "png_text:parameters", PARAMETERS + ", Version: v1.10.1", None),
    ("a1111-version", "exif:UserComment", f"cat {SETTINGS}, Version: v1.9.4", None),
    ("a1111-parameters", "png_text:parameters", PARAMETERS, None),
    ("a1111-comment", "jpeg_comment", PARAMETERS, None),
    ("a1111-inpaint", "png_text:parameters", MASKED, None),
    ("comfyui-prompt", "png_text:prompt", GRAPH, "ComfyUI"),
    ("comfyui-workflow", "png_text:workflow", WORKFLOW % "KSampler", "ComfyUI"),
    ("comfyui-workflow", "exif:Make", "workflow:" + WORKFLOW % "Power Prompt (rgthree)", "ComfyUI"),
    ("comfyui-workflow", "png_text:Workflow", WORKFLOW % "easy kSampler", "ComfyUI"),
    ("comfyui-inpaint", "png_text:prompt", INPAINT_GRAPH, "ComfyUI"),
    (
        "comfyui-unknown",
        "png_text:prompt",
        GRAPH.replace("KSampler", "x").replace("CLIP", "y").replace("TextEncode", "z"),
        "ComfyUI",
    ),
    ("comfyui-unknown-workflow", "png_text:workflow", WORKFLOW % "Some Pack Node", "ComfyUI"),
    ("comfyui-plain", "png_text:prompt", PLAIN_GRAPH, "ComfyUI"),
    ("invokeai", "png_text:invokeai_metadata", '{"positive_prompt":"x"}', "InvokeAI"),
    ("invokeai-sd-metadata", "png_text:sd-metadata", '{"app_id":"invoke-ai/InvokeAI"}', "InvokeAI"),
    ("invokeai-dream", "png_text:Dream", '"a cat" -s 50 -S 1234 -W 512', "InvokeAI"),
    ("novelai-source", "png_text:Source", "NovelAI Diffusion V4.5 B5A2A797", "NovelAI"),
    ("novelai-software", "png_text:Software", "NovelAI", "NovelAI"),
    ("novelai-title", "exif:DocumentName", "NovelAI generated image", "NovelAI"),
    ("novelai-first-title", "png_text:Title", "AI generated image", "NovelAI"),
    ("novelai-signed", "png_text:Comment", NOVELAI % "PromptGenerateRequest", "NovelAI"),
    ("novelai-edit", "png_text:Comment", NOVELAI % "NativeInfillingRequest", "NovelAI"),
    ("tensorart", "png_text:generation_data", '{"prompt":"x","baseModel":{}}', "TensorArt"),
    ("stabilitymatrix", "png_text:parameters-json", '{"PositivePrompt":"x"}', "Stability Matrix"),
    ("drawthings", "xmp:xmp:CreatorTool", "Draw Things 1.2", "Draw Things"),
    ("luma", "png_text:Source", "Luma AI", "Luma AI"),
    ("a1111-extras", "png_text:postprocessing", "Postprocess upscale by: 4", None),
    ("generic-model-hash", "png_text:Model hash", "15012c538f", None),
    ("hf-job", "png_text:hf-job-id", "0123456789abcdef-01", None),
    ("civitai-artist-ai", "exif:Artist", "ai", None),
    (
        "midjourney-jobid",
        "png_text:Description",
        f"a fox --v 5.2 {JOB_ID}",
        "Midjourney",
    ),
    ("midjourney-jobid-alone", "png_text:Description", f"print, {JOB_ID}", "Midjourney"),
    ("google-made-credit", "iptc:2:110", "Made with Google AI", "Google AI"),
    ("google-edited-credit", "xmp:photoshop:Credit", "Edited with Google AI", "Google Photos"),
    ("apple-cleanup", "exif:Software", "Apple Photos Clean Up", "Apple Photos Clean Up"),
    ("apple-playground", "exif:Software", "Apple Image Playground", "Apple Image Playground"),
    ("ideogram", "exif:Make", "Ideogram AI", "Ideogram"),
    ("grok", "exif:ImageDescription", "Signature: " + "aB3+" * 16 + "==", "Grok"),
    ("reve", "exif:Software", "reve.com", "Reve"),
    ("aphrodite", "exif:Make", "Aphrodite AI", "Aphrodite AI"),
    ("bytedance-export-aigc", "exif:UserComment", '{"aigc_label_type": 1}', None),
    ("samsung-genai", "trailer:PEg_Info", '{"genAIType":8}', "Samsung Galaxy AI"),
    ("generator-name", "exif:Software", "Adobe Firefly 3", "Adobe Firefly"),
    ("generator-credit", "exif:Artist", "Midjourney", "Midjourney"),
    ("artist-64hex", "exif:Artist", "0123456789abcdef" * 4, "Seedream"),
    ("iptc-ai-system", "xmp:Iptc4xmpExt:AISystemUsed", "Imagen", "Imagen"),
    ("iptc-ai-system", "xmp:Iptc4xmpExt:AISystemUsed", "Nano Banana", "Nano Banana"),
    ("iptc-ai-system", "xmp:Iptc4xmpExt:AISystemUsed", "OpenAI DALL-E 3", None),
    ("iptc-ai-system", "xmp:Iptc4xmpExt:AISystemUsed", "Gemini 2.5 Flash Image", None),
    ("iptc-ai-system-other", "xmp:Iptc4xmpExt:AISystemUsed", "House Model 3", "House Model 3"),
    ("iptc-ai-prompt", "xmp:Iptc4xmpExt:AIPromptInformation", "a fox", None),
    ("iptc-ai-prompt", "xmp:Iptc4xmpExt:AIPromptInformation", "no people, a street", None),
    ("iptc-ai-detail", "xmp:Iptc4xmpExt:AISystemVersionUsed", "4.0", None),
    (
        "iptc-dst-trained",
        "xmp:Iptc4xmpExt:DigitalSourceType",
        DST + "trainedAlgorithmicMedia",
        None,
    ),
    (
        "iptc-dst-composite-trained",
        "xmp:Iptc4xmpExt:DigitalSourceType",
        DST + "compositeWithTrainedAlgorithmicMedia",
        None,
    ),
    ("iptc-dst-capture", "xmp:Iptc4xmpExt:DigitalSourceType", DST + "digitalCapture", None),
    ("iptc-dst-human", "xmp:Iptc4xmpExt:DigitalSourceType", DST + "softwareImage", None),
    ("iptc-dst-algorithmic", "xmp:Iptc4xmpExt:DigitalSourceType", DST + "algorithmicMedia", None),
    ("iptc-dst-mixed", "xmp:Iptc4xmpExt:DigitalSourceType", DST + "composite", None),
    ("tc260-generated", "xmp:TC260:AIGC", LABEL, "Doubao"),
    (
        "tc260-service-provider",
        "exif:ImageDescription",
        '{"AIGC":{"ServiceProvider":"x","ServiceUser":"y","Time":"2025","ContentId":"z"}}',
        None,
    ),
    ("tc260-suspected", "png_text:AIGC", '{"AIGC":1,"Label":"3"}', None),
    ("gcamera", "xmp:GCamera:MotionPhoto", "1", "Google Camera"),
    ("ultrahdr", "xmp:hdrgm:Version", "1.0", None),
    ("apple-gainmap", "xmp:HDRGainMap:HDRGainMapVersion", "65536", None),
    ("samsung-trailer", "trailer:SEFT", "SEFT", "Samsung phone"),
    ("motion-photo", "trailer:video", "mp42", None),
    ("multi-picture", "mpf", "MPF", None),
    ("samsung-reedit", "trailer:PhotoEditor_Re_Edit_Data", "{}", "Samsung Photo Editor"),
    ("editor-software", "exif:Software", "Adobe Photoshop 25.0", "Adobe Photoshop"),
    ("gd-jpeg", "jpeg_comment", "CREATOR: gd-jpeg v1.0 (using IJG JPEG v62)", "PHP's GD"),
    ("xmp-history", "xmp:stEvt:softwareAgent", "Some Editor 3", "Some Editor 3"),
    ("crs-settings", "xmp:crs:Version", "15.0", None),
    ("imagemagick-png", "png_text:date:create", "2025-03-27T21:10:17+00:00", "ImageMagick"),
    ("facebook-fbmd", "iptc:2:40", "FBMD01000ac0300000", "Facebook or Instagram"),
    ("wikimedia-thumbnail", "jpeg_comment", "File source: https://commons.wikimedia.org/x", None),
    ("compact-srgb", "icc", "c2", None),
    ("name-chatgpt", "file_name", "ChatGPT Image Apr 3, 2025, 10_12_11 AM.png", "ChatGPT"),
    ("name-gemini", "file_name", "Gemini_Generated_Image_x1y2z3x1y2z3.png", "Gemini"),
    ("name-dall-e", "file_name", "DALL·E 2024-02-11 18.03.22 - x.webp", "DALL-E"),
    ("name-comfyui", "file_name", "ComfyUI_00042_.png", "ComfyUI"),
    ("name-firefly", "file_name", "Firefly a harbour at dusk 20395.jpg", "Adobe Firefly"),
    ("name-whatsapp", "file_name", "IMG-20240501-WA0007.jpg", "WhatsApp"),
    ("name-telegram", "file_name", "photo_2024-05-01_10-11-12.jpg", "Telegram"),
    ("name-facebook", "file_name", "123456789_1234567890123_1234567890123_n.jpg", None),
]

# Of a mark that asks for a second field: that field.
ALSO = {"grok": ("exif:Artist", "0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f")}

NO_SYSTEM = [
    *("Nein", "Non", "Ninguno", "Nessuno", "geen", "ingen", "Nej", "Não", "Нет", "无", "なし"),
    *("Ohne KI", "Sin IA", "(none)", "[none]", '"none"', "<none>", "N / A", "n.v.t.", "Without AI"),
    *("non-AI", "undefined", "unspecified", "nothing", "Empty", "TBD", "Camera", "Human"),
    *("No Midjourney", "not OpenAI"),
]
NO_PROMPT = [
    *("None used", "not used", "without AI", "N/A - photograph", "No generative AI was used"),
    *("This photograph was not created with AI", "Photograph, no AI", "none; real photograph"),
    *("(none)", "なし", "Nein"),
]
PLAIN_NODES = [
    *("WebcamCapture", "Morphology", "AdjustBrightness", "CenterCropImages", "CreateVideo"),
    *("SaveVideo", "ImageResize+", "Image Save", "Image Comparer (rgthree)", "VHS_LoadVideo"),
    *("easy imageSize", "LayerUtility: ImageScaleByAspectRatio V2", "CR Text Overlay"),
    *("ColorCorrect", "RemBG", "InspyrenetRembg"),
]
SUBGRAPH = (
    '{"last_node_id":3,"nodes":[{"id":1,"type":"LoadImage"},'
    '{"id":2,"type":"6f1c2b3a-0a1b-4c2d-8e3f-0a1b2c3d4e5f"},{"id":3,"type":"SaveImage"}],'
    '"definitions":{"subgraphs":[{"id":"6f1c2b3a-0a1b-4c2d-8e3f-0a1b2c3d4e5f",'
    '"nodes":[{"id":4,"type":"ImageScale"}]}]}}'
)

# What a photographer, a place or a program may well be called. None of it may speak of AI.
INNOCENT = [
    ("exif:Make", "Meta AI"),  # Ray-Ban's glasses
    *(("xmp:Iptc4xmpExt:AISystemUsed", value) for value in NO_SYSTEM),
    *(("xmp:Iptc4xmpExt:AISystemVersionUsed", value) for value in NO_SYSTEM[:-2]),
    *(("xmp:Iptc4xmpExt:AIPromptInformation", value) for value in NO_PROMPT),
    *(("png_text:prompt", PLAIN_GRAPH.replace("ImageScaleBy", node)) for node in PLAIN_NODES),
    *(("png_text:workflow", WORKFLOW % node) for node in PLAIN_NODES),
    ("png_text:workflow", SUBGRAPH),
    ("exif:UserComment", '{"frame":12,"objects":[{"class_type":"pedestrian","bbox":[1,2,3,4]}]}'),
    ("exif:UserComment", '{"1":{"class_type":"pedestrian","inputs":{}}}'),
    ("png_text:Comment", '{"signed_hash": "AA=="}'),
    ("xmp:xmp:CreatorTool", "Canva (Renderer) doc=D user=U brand=ChatGPT Masterclass"),
    ("exif:Software", "PhotoTagger 2.1 (keywords by OpenAI gpt-4o)"),
    ("exif:Software", "OpenAI CLIP tagger 1.0"),
    ("exif:Software", "darktable 4.6; alt text: GPT-4o"),
    ("exif:Software", "digiKam 8 / AI tagging OpenAI CLIP"),
    ("exif:Software", "Adobe Photoshop 25.0 (no Stable Diffusion)"),
    ("exif:Software", "not Midjourney"),
    ("exif:Software", "Krita 5.2 with ComfyUI plugin"),
    ("xmp:xmp:CreatorTool", "Adobe Photoshop 26.0 (Adobe Firefly)"),
    ("exif:ImageDescription", "Trip\nSteps: 20, Seed: none yet, Sampler: soup"),
    ("jpeg_comment", "Steps: 12, Seed: 5 packets"),
    ("exif:UserComment", "see urn:air:quality:station:17"),
    ("png_text:parameters", "scaled by urn:air:other:upscaler:civitai:1@2"),
    ("trailer:PEg_Info", '{"genAIType":-1}'),
    ("exif:UserComment", '{"faceLabel":"1","ContentProducer":"x"}'),
    ("exif:Software", "Editor de imagen 2.1"),
    ("exif:Software", "Creato dalle Foto"),
    ("exif:Software", "Magic Media Converter"),
    ("exif:Model", "Firefly 6"),
    ("exif:UserComment", "Device: TrailCam 4, Serial: 1234, Version: v2.1.0"),
    ("exif:UserComment", "App: Timestamp Camera\nVersion: v1.2.3"),
    ("exif:UserComment", "App: OpenCam, Version: classic"),
    ("exif:UserComment", '{"extraMetadata": {"altitude": 12}}'),
    ("exif:UserComment", "Hike\nSteps: 8532, Distance 6 km, Size: M"),
    ("exif:UserComment", '{"AIGC":{"Label":"0","ServiceProvider":"x"}}'),
    ("exif:ImageDescription", "Signature: " + "aB3+" * 16 + "=="),
    ("png_text:parameters", '{"Model":"DCC1545M","resolution":[640,480]}'),
    ("png_text:workflow", '{"nodes":[{"name":"stitch","type":"filter"}]}'),
    ("png_text:workflow", WORKFLOW % "SaveImage"),
    ("png_text:prompt", PLAIN_GRAPH),
    ("png_text:prompt", PLAIN_GRAPH.replace("ImageScaleBy", "SplitImageWithAlpha")),
    ("png_text:prompt", PLAIN_GRAPH.replace("ImageScaleBy", "PorterDuffImageComposite")),
    ("xmp:Iptc4xmpExt:AISystemUsed", "None"),
    ("xmp:Iptc4xmpExt:AISystemUsed", "No AI was used"),
    ("xmp:Iptc4xmpExt:AISystemUsed", "n.a."),
    ("xmp:Iptc4xmpExt:AISystemUsed", " 0 "),
    ("xmp:Iptc4xmpExt:AISystemVersionUsed", "not applicable"),
    ("xmp:Iptc4xmpExt:AIPromptInformation", "n/a"),
    ("xmp:Iptc4xmpExt:AIPromptInformation", "No AI was used."),
    ("xmp:Iptc4xmpExt:AIPromptInformation", "Not applicable"),
    ("exif:Software", "Taiwan Imaging 2"),
    ("exif:Software", "Imagenomic Noiseware"),
    ("exif:Software", "Influx 2.1"),
    ("exif:Software", "Capture One 23 Sora"),
    ("exif:Software", "Adobe Photoshop 25.0 (Windows)"),
    ("exif:Model", "Trust PowerCam Gemini"),
    ("exif:Make", "Canon"),
    ("exif:Artist", "Aileen Ideograma"),
    ("exif:Artist", "Ai Weiwei"),
    ("exif:ImageDescription", "Robot made by OpenAI, photograph by R. Muse"),
    ("exif:UserComment", "Steps: to the museum, 20 of them"),
    ("exif:UserComment", "prompt: smile"),
    ("png_text:parameters", "width=3"),
    ("png_text:prompt", "press any key"),
    ("png_text:Comment", "Steps: 20"),
    ("png_text:Title", "On AI generated image laws"),
    ("png_text:Source", "Stable Diffusion of gases"),
    ("png_text:Software", "matplotlib 3.9"),
    ("png_text:Description", "Job ID: 17"),
    ("xmp:photoshop:Credit", "Photo courtesy of Made with Google AI Lab"),
    ("xmp:Iptc4xmpExt:DigitalSourceType", DST + "algorithmicMedia"),
    ("xmp:Iptc4xmpExt:DigitalSourceType", DST + "notTrainedAlgorithmicMedia"),
    ("xmp:Iptc4xmpExt:DigitalSourceType", "no trainedAlgorithmicMedia"),
    ("xmp:TC260:AIGC", '{"Label":"10","ContentProducer":"x"}'),
    ("trailer:PEg_Info", '{"genAIType":0}'),
    ("jpeg_comment", "Label: 1"),
]


def make_field(place: str, value: str) -> Field:
    signal, _, name = place.partition(":")
    return Field(signal, name, place, 0, value)


def test_every_mark_has_an_example() -> None:
    assert [
        mark.id for mark in load_catalogue().marks if mark.id not in {e[0] for e in EXAMPLES}
    ] == []


@pytest.mark.parametrize(("mark", "place", "value", "source"), EXAMPLES)
def test_a_mark_fires_on_its_like(mark: str, place: str, value: str, source: str | None) -> None:
    fields = [make_field(place, value)]
    if mark in ALSO:
        fields.append(make_field(*ALSO[mark]))
    hits = {hit.mark.id: hit for hit in find_marks(fields)}
    assert mark in hits
    if source:
        assert hits[mark].evidence.source == source
    assert hits[mark].evidence.value


@pytest.mark.parametrize(("place", "value"), INNOCENT)
def test_nothing_innocent_speaks_of_ai(place: str, value: str) -> None:
    hits = find_marks([make_field(place, value)])
    assert [hit.mark.id for hit in hits if hit.mark.says in {Says.AI, Says.AI_EDIT}] == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("png_text:prompt", '{"1":{"class_type":"Some Pack Node","inputs":{}}}'),
        ("png_text:workflow", WORKFLOW % "Some Pack Node"),
        ("png_text:Title", "AI generated image"),
        ("png_text:Source", "Luma AI"),
        ("png_text:Description", f"contact print. {JOB_ID}"),
        ("xmp:Iptc4xmpExt:AISystemUsed", "Topaz Photo"),
        ("xmp:Iptc4xmpExt:AISystemVersionUsed", "4.0"),
        ("xmp:Iptc4xmpExt:AIPromptInformation", "describe this photograph"),
    ],
)
def test_what_may_be_innocent_is_weak(place: str, value: str) -> None:
    assert {hit.evidence.tier for hit in find_marks([make_field(place, value)])} == {Tier.WEAK}


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        (
            [("png_text:Title", "AI generated image"), ("png_text:Software", "NovelAI")],
            "novelai-first-title",
        ),
        (
            [
                ("xmp:Iptc4xmpExt:DigitalSourceType", DST + "trainedAlgorithmicMedia"),
                ("xmp:dc:description", JOB_ID),
            ],
            "midjourney-jobid-alone",
        ),
        (
            [
                ("xmp:Iptc4xmpExt:DigitalSourceType", DST + "trainedAlgorithmicMedia"),
                ("xmp:Iptc4xmpExt:AISystemUsed", "House Model 3"),
            ],
            "iptc-ai-system-other",
        ),
    ],
)
def test_a_weak_mark_is_strong_beside_what_confirms_it(
    fields: list[tuple[str, str]], rule: str
) -> None:
    hits = {hit.mark.id: hit.evidence for hit in find_marks([make_field(*one) for one in fields])}
    assert hits[rule].tier is Tier.STRONG


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("png_text:parameters", MASKED),
        ("png_text:parameters", MASKED + ", Version: v1.10.1"),
        ("exif:UserComment", MASKED),
        ("png_text:prompt", INPAINT_GRAPH),
        ("png_text:Comment", NOVELAI % "NativeInfillingRequest"),
        ("png_text:Comment", NOVELAI % "Img2ImgRequest"),
    ],
)
def test_settings_of_a_repainted_part_are_an_edit(place: str, value: str) -> None:
    hits = find_marks([make_field(place, value)])
    assert {(hit.evidence.says, hit.evidence.tier) for hit in hits} == {(Says.AI_EDIT, Tier.STRONG)}


def test_a_detailers_mask_is_no_edit_of_a_photograph() -> None:
    value = PARAMETERS + ", ADetailer mask blur: 4, ADetailer inpaint padding: 32"
    hits = find_marks([make_field("png_text:parameters", value)])
    assert {hit.evidence.says for hit in hits} == {Says.AI}


@pytest.mark.parametrize(
    "value",
    [
        "trainedAlgorithmicMedia",
        DST + "TrainedAlgorithmicMedia",
        DST + "trainedAlgorithmicMedia/",
        DST + "trainedAlgorithmicMedia \n",
        "http://cv.iptc.org/newscodes/digitalsourcetype#trainedAlgorithmicMedia",
        "digsrctype:trainedAlgorithmicMedia",
    ],
)
def test_every_spelling_of_a_source_type_is_known(value: str) -> None:
    place = "xmp:Iptc4xmpExt:DigitalSourceType"
    assert [hit.mark.id for hit in find_marks([make_field(place, value)])] == ["iptc-dst-trained"]
    packet = xmp_packet(attributes=f'Iptc4xmpExt:DigitalSourceType="{value}"')
    provenance = read_provenance(png(chunk(b"tEXt", b"XML:com.adobe.xmp\0" + packet)), "image/png")
    assert str(provenance.digital_source_type).casefold() == "trainedalgorithmicmedia"


def test_the_graph_that_ran_outranks_the_one_that_was_drawn() -> None:
    drawn = make_field("png_text:workflow", WORKFLOW % "KSampler")
    hits = find_marks([make_field("png_text:prompt", PLAIN_GRAPH), drawn])
    found = {hit.mark.id: hit.evidence.tier for hit in hits}
    assert found == {"comfyui-workflow": Tier.WEAK, "comfyui-plain": Tier.STRONG}
    software = make_field("exif:Software", "ComfyUI")
    hits = find_marks([make_field("png_text:prompt", PLAIN_GRAPH), software])
    assert {hit.mark.id: hit.evidence.tier for hit in hits}["generator-name"] is Tier.WEAK


def test_a_graph_that_was_cut_is_not_called_plain() -> None:
    whole = make_field("png_text:prompt", PLAIN_GRAPH)
    assert [hit.mark.id for hit in find_marks([whole])] == ["comfyui-plain"]
    assert find_marks([replace(whole, is_cut=True)]) == []


@pytest.mark.parametrize(("before", "after"), [(4, 0), (100, 0), (0, 100)])
def test_padding_hides_no_settings(before: int, after: int) -> None:
    dummy = text("parameters", "width=3")
    data = png(*[dummy] * before, text("parameters", PARAMETERS), *[dummy] * after)
    provenance = read_provenance(data, "image/png")
    assert [one.rule for one in provenance.evidence] == ["a1111-parameters"]
    is_padded = provenance.metadata_status is MetadataStatus.LIMIT_REACHED
    assert is_padded == (before + after > 16)


def hostile_texts(mark: Mark) -> list[str]:
    """64 KiB each: the mark's own words over and over, whole and cut, and runs of what it skips."""
    example = next(value for name, _, value, _ in EXAMPLES if name == mark.id)
    seeds = [example, example[:-1], example[: len(example) // 2], example + "\n", "\n" + example]
    seeds += ["a", " ", "\n", "{", '"', ", ", "\nSteps: 1, ", '"class_type"', "Label:", "&quot;"]
    seeds += ['"Label" ', '"base_model":', '"AIGC":', "Job ID: 01234567-", "-s 5", "stable-", "é"]
    texts = [
        (seed * (MAX_VALUE_BYTES // len(seed) + 1))[:MAX_VALUE_BYTES] for seed in seeds if seed
    ]
    texts += [example[:cut] + " " * (MAX_VALUE_BYTES - cut) for cut in range(min(len(example), 40))]
    texts += [" " * (MAX_VALUE_BYTES - 1) + "x", "-" * (MAX_VALUE_BYTES - 1) + "x"]
    texts += [example[:20] + " " * (MAX_VALUE_BYTES - 20), "{" + " " * MAX_VALUE_BYTES]
    return texts


@pytest.mark.parametrize("mark", load_catalogue().marks, ids=lambda mark: mark.id)
def test_patterns_stay_quick_on_hostile_text(mark: Mark) -> None:
    patterns = [*mark.patterns, *([mark.version] if mark.version else [])]
    patterns += [mark.also[1]] if mark.also else []
    for pattern in patterns:
        for value in hostile_texts(mark):
            text = value[: mark.within]
            # A busy machine may slow one run, not three.
            assert any(_measure(pattern, text) < 0.05 for _ in range(3)), (mark.id, value[:40])


@pytest.mark.parametrize(
    "mark", [m for m in load_catalogue().marks if m.prompt], ids=lambda m: m.id
)
def test_prompts_are_found_quickly_in_hostile_text(mark: Mark) -> None:
    for value in hostile_texts(mark):
        start = time.process_time()
        find_prompt(mark.prompt or "", make_field(mark.at[0], value))
        assert time.process_time() - start < 0.5  # ten times 50 ms


def _measure(pattern: object, value: str) -> float:
    start = time.process_time()
    pattern.search(value)  # type: ignore[attr-defined]
    return time.process_time() - start


@pytest.mark.parametrize(
    ("data", "media_type", "generator", "version", "prompt"),
    [
        (
            png(text("parameters", PARAMETERS + ", Version: v1.10.1")),
            "image/png", "Stable Diffusion web UI", "v1.10.1", "a lighthouse",
        ),
        (
            jpeg(app1(tiff([], [user_comment(b"UNICODE\0" + PARAMETERS.encode("utf-16-be"))]))),
            "image/jpeg", "Stable Diffusion web UI or a relative of it", None, "a lighthouse",
        ),
        (png(text("prompt", GRAPH)), "image/png", "ComfyUI", None, "a red fox"),
        (
            webp((b"EXIF", tiff([ascii_entry(0x010F, "workflow:" + WORKFLOW % "VAEDecode"),
                                 ascii_entry(0x0110, "prompt:" + GRAPH)]))),
            "image/webp", "ComfyUI", None, "a red fox",
        ),
        (
            png(text("invokeai_metadata", '{"positive_prompt":"a pond","app_version":"5.1.0"}')),
            "image/png", "InvokeAI", "5.1.0", "a pond",
        ),
        (
            png(text("Source", "NovelAI Diffusion V4.5 B5A2A797"),
                text("Comment", '{"prompt": "a castle", "sampler": "k", "signed_hash": "AA=="}')),
            "image/png", "NovelAI", "V4.5", "a castle",
        ),
        (
            png(text("Description", "a fox --v 6 Job ID: 01234567-89ab-cdef-0123-456789abcdef")),
            "image/png", "Midjourney", "6", "a fox",
        ),
        (
            png(chunk(b"tEXt", b"XML:com.adobe.xmp\0" + xmp_packet(attributes=(
                'Iptc4xmpExt:AISystemUsed="Imagen" Iptc4xmpExt:AISystemVersionUsed="4"'
                ' Iptc4xmpExt:AIPromptInformation="a tram"')))),
            "image/png", "Imagen", "4", "a tram",
        ),
    ],
)  # fmt: skip
def test_generator_version_and_prompt_are_found(
    data: bytes, media_type: str, generator: str, version: str | None, prompt: str
) -> None:
    provenance = read_provenance(data, media_type)
    assert (provenance.generator, provenance.generator_version, provenance.prompt) == (
        generator,
        version,
        prompt,
    )
    assert provenance.evidence[0].says is Says.AI
    assert provenance.camera_make is None


@pytest.mark.parametrize(
    ("kind", "system", "says", "tier", "generator"),
    [
        ("compositeWithTrainedAlgorithmicMedia", "Adobe Firefly", Says.AI_EDIT, Tier.STRONG, True),
        ("trainedAlgorithmicMedia", "Adobe Firefly", Says.AI, Tier.STRONG, True),
        ("digitalCapture", "Adobe Firefly", Says.AI, Tier.WEAK, False),
        ("composite", "Adobe Firefly", Says.AI_EDIT, Tier.STRONG, True),
        ("humanEdits", "Adobe Firefly", Says.AI, Tier.WEAK, False),
        ("algorithmicMedia", "Adobe Firefly", Says.AI, Tier.WEAK, False),
        ("algorithmicMedia/", "Adobe Firefly", Says.AI, Tier.WEAK, False),
        ("algorithmicallyEnhanced", "Adobe Firefly", Says.AI, Tier.WEAK, False),
        ("virtualRecording", "Adobe Firefly", Says.AI, Tier.WEAK, False),
        ("dataDrivenMedia", "Adobe Firefly", Says.AI, Tier.WEAK, False),
        ("DigitalCapture", "Adobe Firefly", Says.AI, Tier.WEAK, False),
    ],
)
def test_the_kind_of_source_is_more_exact_than_the_tool(
    kind: str, system: str, says: Says, tier: Tier, generator: bool
) -> None:
    attributes = (
        f'Iptc4xmpExt:DigitalSourceType="{DST}{kind}" Iptc4xmpExt:AISystemUsed="{system}"'
        ' Iptc4xmpExt:AIPromptInformation="remove the lamp post"'
    )
    packet = xmp_packet(attributes=attributes)
    provenance = read_provenance(png(chunk(b"tEXt", b"XML:com.adobe.xmp\0" + packet)), "image/png")
    of_ai = [one for one in provenance.evidence if one.says in {Says.AI, Says.AI_EDIT}]
    assert {(one.says, one.tier) for one in of_ai} == {(says, tier)}
    assert (provenance.generator == system) is generator


def test_a_mark_of_two_fields_needs_both() -> None:
    place, value = next((place, value) for mark, place, value, _ in EXAMPLES if mark == "grok")
    signature, artist = make_field(place, value), make_field(*ALSO["grok"])
    assert [hit.mark.id for hit in find_marks([signature, artist])] == ["grok"]
    named = make_field("exif:Artist", "Ada Example")
    for fields in ([signature], [artist], [signature, named]):
        assert find_marks(fields) == []


@pytest.mark.parametrize("depth", [100, 400, 900, 980, 2_000])
@pytest.mark.parametrize("key", ["positive", "text", "class_type"])
def test_nested_json_is_survived(key: str, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    encoder = '{"class_type": "TextEncode", "inputs": {' + f'"{key}": {nested}}}}}'
    graph = '{"class_type": 1, "3": ' + encoder + "}"
    assert read_provenance(png(text("prompt", graph)), "image/png").prompt is None
    settings = f'{{"prompt": {nested}, "signed_hash": {nested}}}'
    assert read_provenance(png(text("Comment", settings)), "image/png").prompt is None


def test_digital_source_type_is_the_last_path_segment() -> None:
    data = jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + TRAINED_XMP))
    provenance = read_provenance(data, "image/jpeg")
    assert provenance.digital_source_type == "trainedAlgorithmicMedia"
    (evidence,) = provenance.evidence
    assert evidence.rule == "iptc-dst-trained"
    assert evidence.location == "XMP:Iptc4xmpExt:DigitalSourceType"
    assert evidence.offset is not None
    assert data[evidence.offset :].startswith(b"\xff\xe1")


def test_label_in_xml_is_read_through_its_entities() -> None:
    body = f"<TC260:AIGC>{LABEL.replace(chr(34), '&quot;')}</TC260:AIGC>"
    provenance = read_provenance(
        png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp_packet(body))), "image/png"
    )
    assert provenance.generator == "Doubao"


def test_a_galaxy_edit_is_an_edit() -> None:
    data = png(trailer=samsung_trailer(b"PEg_Info", b'{"genAIType":8}'))
    evidence = read_provenance(data, "image/png").evidence
    assert (evidence[0].says, evidence[0].tier) == (Says.AI_EDIT, Tier.STRONG)


def test_strongest_evidence_comes_first_and_values_are_short() -> None:
    data = png(
        text("Model hash", "1234"), text("parameters", PARAMETERS + ", Model: " + "x" * 5_000)
    )
    evidence = read_provenance(data, "image/png").evidence
    assert [one.tier for one in evidence] == [Tier.STRONG, Tier.WEAK]
    assert all(len(one.value) <= 200 for one in evidence)


def test_a_tools_name_counts_only_at_the_front_of_its_field() -> None:
    late = make_field("exif:Software", "x " * 150 + "Midjourney")
    assert find_marks([late]) == []


def test_weak_marks_name_no_generator() -> None:
    provenance = read_provenance(png(text("Author", "Midjourney")), "image/png")
    assert [one.tier for one in provenance.evidence] == [Tier.WEAK]
    assert provenance.generator is None


@pytest.mark.parametrize(
    ("data", "media_type", "sentence"),
    [
        (
            png(text("parameters", PARAMETERS + ", Version: v1.10.1")),
            "image/png",
            "Generation settings of Stable Diffusion web UI; unsigned, easy to forge.",
        ),
        (
            jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + TRAINED_XMP)),
            "image/jpeg",
            "The file declares that it was made by AI; unsigned, easy to forge.",
        ),
        (
            png(trailer=samsung_trailer(b"PEg_Info", b'{"genAIType":8}')),
            "image/png",
            "The file declares that it was edited with AI (Samsung Galaxy AI);"
            " unsigned, easy to forge.",
        ),
        (
            png(text("Author", "Midjourney")),
            "image/png",
            "A faint trace of AI (Midjourney); it decides nothing.",
        ),
        (
            jpeg(app1(tiff([ascii_entry(0x010F, "Canon"), ascii_entry(0x0110, "Canon EOS 5D")],
                           [ascii_entry(0x9003, "2019:03:02 10:11:12")]))),
            "image/jpeg",
            "Canon EOS 5D, taken 2019-03-02; camera metadata can be forged.",
        ),
        (
            jpeg(app1(tiff([ascii_entry(0x0131, "GIMP 2.10")]))),
            "image/jpeg",
            "Edited with GIMP; that is no sign of AI.",
        ),
        (
            jpeg(segment(0xFE, b"File source: https://commons.wikimedia.org/wiki/x")),
            "image/jpeg",
            "Wikimedia Commons took the file's own metadata away.",
        ),
        (png(), "image/png", ""),
    ],
)  # fmt: skip
def test_hints_are_one_sentence_for_anyone(data: bytes, media_type: str, sentence: str) -> None:
    assert describe(read_provenance(data, media_type)) == sentence


def test_hints_are_two_sentences_at_most() -> None:
    block = tiff(
        [ascii_entry(0x010F, "Canon"), ascii_entry(0x0110, "Canon EOS 5D")],
        [user_comment(b"ASCII\0\0\0" + PARAMETERS.encode())],
    )
    online = xmp_packet(attributes='dcterms:provenance="https://example.org/x"')
    packet = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + online)
    provenance = read_provenance(jpeg(app1(block), packet), "image/jpeg")
    assert provenance.notes
    assert describe(provenance) == (
        "Generation settings of Stable Diffusion web UI or a relative of it; unsigned, easy to"
        " forge. Canon EOS 5D; camera metadata can be forged."
    )


def test_hints_show_no_control_characters_and_no_novels() -> None:
    name = "GIMP " + "x" * 300 + "\x1b[31m"
    hints = describe(read_provenance(jpeg(app1(tiff([ascii_entry(0x0131, name)]))), "image/jpeg"))
    assert hints.isprintable()
    assert len(hints) < 200
