#!/bin/sh
# cog-diffusion: what is wrong is said, with the option, file or shapes, and the exit status is not 0.
. "$(dirname -- "$0")/image_common.sh"

refused 2 '--steps' "$program" train --steps many
refused 2 '--frobnicate' "$program" train --frobnicate
refused 2 '--solver' "$program" sample --ckpt x --solver magic
refused 2 '--steps' "$program" sample --ckpt x --steps 0
refused 2 '--guidance' "$program" sample --ckpt x --guidance -2
refused 2 '--threshold' "$program" sample --ckpt x --threshold 1.5
refused 1 'no such file or folder' train --data nowhere --out o
mkdir empty && refused 1 'no pictures' train --data empty --out o
mkdir -p bad/one && printf 'no picture' >bad/one/x.png && refused 1 'bad/one/x.png' train --data bad --out o
mkdir -p mixed/one && train --steps 1 --out model >/dev/null && cp model/preview-00000001.png mixed/one/ && cp model/preview-00000001.png mixed/loose.png
refused 1 'loose.png' train --data mixed --out o
mkdir -p gap/one gap/two && cp model/preview-00000001.png gap/one/ && refused 1 'gap/two: a class without pictures' train --data gap --out o
mkdir gap/.hidden && cp model/preview-00000001.png gap/two/ && printf 'no picture' >gap/two/._x.png
train --data gap --size 8 --steps 1 --held-out 0 --previews 0 --out of_gap >gap.log || fail "hidden files are read"
grep -q '2 classes' gap.log || fail "not two classes: $(cat gap.log)"
printf 'abc' >broken.bin && refused 1 'records of 3073' train --data broken.bin --out o
refused 1 '--patch 3' train --patch 3 --out o
refused 1 '--heads 3' train --heads 3 --out o
refused 1 '--layers 3' train --layers 3 --out o
refused 1 'holds checkpoints already' train --out model
refused 1 '--dim 32' "$program" train --out model --resume auto --dim 32
refused 1 'no complete checkpoint' train --out o --resume nowhere
train --steps 2 --out two_steps >/dev/null
refused 1 '--steps 1: the checkpoint two_steps/step-00000002' "$program" train --out two_steps --resume auto --steps 1
refused 1 'two_steps holds the checkpoints of another run' "$program" train --resume model --out two_steps --steps 3
[ -e two_steps/step-00000002 ] || fail "the other run is gone"
"$program" train --resume two_steps/step-00000002/ --out two_steps --steps 3 >/dev/null || fail "a run does not go on from its own checkpoint"
(cd two_steps && "$program" train --resume step-00000003 --out . --steps 4 >/dev/null) || fail "nor where it stands"
refused 1 '--seed 2' "$program" train --out two_steps --resume auto --seed 2
refused 1 '--held-out 0.5' "$program" train --out two_steps --resume auto --held-out 0.5
refused 1 '--dim 2' train --dim 2 --heads 2 --positions sinusoids --out o
mkdir -p flat/one flat/two && printf 'P6\n0 8\n255\n' >flat/one/x.png && cp flat/one/x.png flat/two/
refused 1 'flat/one/x.png: neither a PNG nor a JPEG' train --data flat --out o
: >file
refused 1 'file' train --steps 1 --out file
refused 1 'file' "$program" sample --ckpt model --out file
refused 1 'file' "$program" sample --ckpt model --out file/below
refused 1 'nowhere' "$program" sample --ckpt nowhere
refused 1 'red disc' "$program" sample --ckpt model --class 'pink cube'
train --steps 1 --unconditional --out free >/dev/null
refused 1 'knows no classes' "$program" sample --ckpt free --class 0
refused 1 'knows no classes' "$program" sample --ckpt free --guidance 1
train --steps 1 --drop-class 0 --out unguided >/dev/null
refused 1 'cannot be guided' "$program" sample --ckpt unguided --guidance 1

# A checkpoint of another shape, and one that was cut.
sed 's/"embed_dim": 16/"embed_dim": 24/' model/step-00000001/config.json >config.json && mkdir other && cp model/step-00000001/model.safetensors config.json other/
refused 1 'model.safetensors' "$program" info --ckpt other
cp -r model cut && : >cut/step-00000001/model.safetensors
refused 1 'cut' "$program" sample --ckpt cut
echo garbage >cut/step-00000001/state.json
refused 1 'none that is whole' "$program" train --out cut --resume auto --steps 2
refused 1 '--samples nowhere' "$program" fid --samples model --samples nowhere
refused 1 '--classifier nowhere/judge' "$program" fid --samples model --classifier nowhere/judge.safetensors
refused 1 'more; unexpected' "$program" fid --samples model --pictures 100 --classifier model/step-00000001/model.safetensors

# Classes name folders of pictures, and no others.
cp -r other away && sed 's,"red disc","../red disc",' model/step-00000001/config.json >away/config.json
refused 1 "a class named '../red disc'" "$program" sample --ckpt away
sed 's,"red disc","red\\u0000disc",' model/step-00000001/config.json >away/config.json
refused 1 "a class named 'red" "$program" sample --ckpt away
sed 's,"num_heads": 2,"num_heads": 2.5,' model/step-00000001/config.json >away/config.json
refused 1 "'num_heads' is not a whole number" "$program" sample --ckpt away

# Weights that are no numbers: the last four bytes of the file become a NaN.
cp -r other nan && cp model/step-00000001/config.json nan/
printf '\377\377\377\177' | dd of=nan/model.safetensors bs=1 seek=$(($(wc -c <nan/model.safetensors) - 4)) conv=notrunc 2>/dev/null
refused 1 'numbers that are not finite' "$program" sample --ckpt nan

# Files that were cut, as anything can be on its way.
cut() { mkdir -p "cut-$2/a" "cut-$2/b" && cp "$1" "cut-$2/b/" && head -c "$3" "$1" >"cut-$2/a/$2"; }
cut model/preview-00000001.png x.png 300
refused 1 'cut-x.png/a/x.png' train --data cut-x.png --out o
cut model/preview-00000001.png y.png 60
refused 1 'cut-y.png/a/y.png' train --data cut-y.png --out o
cut model/preview-00000001.png z.png $(($(wc -c <model/preview-00000001.png) - 12))
refused 1 'cut-z.png/a/z.png: a PNG that was cut' train --data cut-z.png --out o
cp model/preview-00000001.png cut-z.png/a/z.png && printf 'x' | dd of=cut-z.png/a/z.png bs=1 seek=200 conv=notrunc 2>/dev/null
refused 1 'cut-z.png/a/z.png: a PNG that was cut or altered' train --data cut-z.png --out o
: >cut-y.png/a/y.png && refused 1 'cut-y.png/a/y.png' train --data cut-y.png --out o
base64 -d >whole.jpg <<'end'
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/wAALCAAIAAgBAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/AGR26TRtYaeypaID9ouc4DgdQD/d9T3+nX//2Q==
end
mkdir -p jpeg/a jpeg/b && cp whole.jpg jpeg/a/ && cp whole.jpg jpeg/b/
train --data jpeg --steps 1 --held-out 0 --previews 0 --out of_jpeg >/dev/null || fail "a whole JPEG is refused"
head -c $(($(wc -c <whole.jpg) - 12)) whole.jpg >jpeg/b/whole.jpg && refused 1 'jpeg/b/whole.jpg' train --data jpeg --out o
mkdir mnist && printf '\000\000\010\003\000\000\000\002\000\000\000\002\000\000\000\002abc' >mnist/train-images-idx3-ubyte
printf '\000\000\010\001\000\000\000\002\001\002' >mnist/train-labels-idx1-ubyte
refused 1 'train-images-idx3-ubyte' train --data mnist --out o
# 3 pictures of 2,000,401,068 x 3,073,840,936: 7,328 bytes, but for a multiple of 2^64
{ printf '\000\000\010\003\000\000\000\003\167\073\262\254\267\067\027\050'; head -c 7328 /dev/zero; } >mnist/train-images-idx3-ubyte
printf '\000\000\010\001\000\000\000\003\001\002\003' >mnist/train-labels-idx1-ubyte
refused 1 'train-images-idx3-ubyte' train --data mnist --out o
head -c 10 mnist/train-images-idx3-ubyte >short && mv short mnist/train-images-idx3-ubyte && refused 1 'not IDX' train --data mnist --out o

# Other classes, or another device or precision, than those of the checkpoint.
mkdir -p two/a two/b && cp model/preview-00000001.png two/a/ && cp model/preview-00000001.png two/b/
refused 1 'the 2 classes' "$program" train --out model --resume auto --data two --size 8 --steps 2
refused 1 '--dtype half' "$program" train --dtype half
[ "$("$program" info --config all | wc -l)" -eq 12 ] || fail "info --config all"
"$program" info --config uvic_s2_mscoco >published.log
grep -q '334 tokens' published.log && grep -q '44692644' published.log && grep -q 'Cog in all' published.log || fail "U-ViC-S/2: $(cat published.log)"
refused 1 'uvit_s9' train --config uvit_s9 --out o

mkdir single && cp model/preview-00000001.png single/ && refused 1 'single: 1 picture' "$program" fid --samples single --pictures 100
mkdir digits
printf '\000\000\010\003\000\000\000\002\000\000\000\004\000\000\000\004\001\002\003\004\005\006\007\010\011\012\013\014\015\016\017\020\001\002\003\004\005\006\007\010\011\012\013\014\015\016\017\020' >digits/train-images-idx3-ubyte
printf '\000\000\010\001\000\000\000\002\001\002' >digits/train-labels-idx1-ubyte
refused 1 'in 1 channel, the reference has' "$program" fid --samples digits --pictures 100

# Odd sizes are cut to their middle square.
mkdir -p odd/a odd/b && cp model/preview-00000001.png odd/a/ && cp model/preview-00000001.png odd/b/
"$program" train --data odd --size 8 --patch 2 --layers 2 --heads 2 --dim 16 --batch 2 --steps 1 --held-out 0 --previews 2 --preview-steps 1 --threads 2 --out of_odd >/dev/null || fail "pictures of an odd size are refused"
# One pixel: enough, if a size is given.
mkdir -p pixel/a pixel/b && base64 -d >pixel/a/p.png <<'end' && cp pixel/a/p.png pixel/b/
iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4IacBAALAAQ/aQIG5AAAAAElFTkSuQmCC
end
refused 1 'does not divide the side of the pictures, 1' "$program" train --data pixel --out o
"$program" train --data pixel --size 8 --patch 2 --layers 2 --heads 2 --dim 16 --batch 2 --steps 1 --held-out 0 --previews 2 --preview-steps 1 --threads 2 --out of_pixel >/dev/null || fail "a picture of one pixel is refused"
