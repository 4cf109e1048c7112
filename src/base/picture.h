// Pictures in files: PNG by libpng, loaded at run time; videos by ffmpeg, a child process. Pixels are RGB bytes, the top row first.
#ifndef BRC_PICTURE_H
#define BRC_PICTURE_H
#include "base/base.h"

// rgb [height, width, 3]. The file appears when complete. E_UNSUPPORTED: no libpng, and how to get it.
brc_status brc_png_write(const char *path, int width, int height, const uint8_t *rgb);

// An MP4 (H.264), written frame by frame; it appears when complete. Width and height are even.
typedef struct brc_video brc_video;
// fps: frames per second. E_UNSUPPORTED: no ffmpeg on the path, and how to get it.
brc_status brc_video_begin(brc_video **out, const char *path, int width, int height, double fps);
brc_status brc_video_frame(brc_video *v, const uint8_t *rgb);
brc_status brc_video_end(
    brc_video *v);  // frees it, also when it fails; what lay there is replaced only by a whole video
void brc_video_abort(brc_video *v);  // frees it, writes nothing; NULL is fine
#endif
