# What the tests of cog-diffusion share. Called as: sh image_NAME.sh PROGRAM
. "$(dirname -- "$0")/lm_common.sh"

# A model that learns something in a second; what stands behind may say otherwise.
small="--pictures 240 --size 8 --patch 2 --layers 2 --heads 2 --dim 16 --batch 8 --warmup 4 --eval-pictures 16 --previews 12
  --preview-steps 3 --threads 2"
train() { "$program" train $small "$@"; }
