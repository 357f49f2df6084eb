// What convolutions need beside products: patches as columns `(c kh kw, b oh ow)` and back, axes that
// change places, and the channel by channel ones.

struct Geometry {
    u32 b, c, h, w;
    u32 o, oh, ow;
    u32 kh, kw, stride, above, left;
};

// A row of blocks for each value of a patch, or for every so many-th, so that its place is found once; four
// positions a thread.
KERNEL im2col(float* out, const float* x, const __grid_constant__ Geometry g) {
    u32 positions = g.b * g.oh * g.ow, first = 4 * ELEMENT;
    if (first >= positions) return;
    u32 column = first % g.ow, row = first / g.ow % g.oh, from = first / (g.ow * g.oh);
    for (u32 k = blockIdx.y; k < g.c * g.kh * g.kw; k += gridDim.y) {
        u32 v = k % g.kw, u = k / g.kw % g.kh, c = k / (g.kw * g.kh);
        u32 ow = column, oh = row, image = from;
        float values[4];
        for (int i = 0; i < 4; ++i) {
            int y = (int)(oh * g.stride + u) - (int)g.above, z = (int)(ow * g.stride + v) - (int)g.left;
            bool inside = first + i < positions && y >= 0 && y < (int)g.h && z >= 0 && z < (int)g.w;
            values[i] = inside ? x[((image * g.c + c) * g.h + y) * g.w + z] : 0.0f;
            if (++ow == g.ow) {
                ow = 0;
                if (++oh == g.oh) {
                    oh = 0;
                    ++image;
                }
            }
        }
        float* to = out + k * positions + first;
        if (positions % 4 == 0) {
            *(float4*)to = make_float4(values[0], values[1], values[2], values[3]);
        } else {
            for (int i = 0; i < 4 && first + i < positions; ++i) to[i] = values[i];
        }
    }
}

// The sum of what the patches have of every pixel, and a bias for every channel if there is one.
KERNEL col2im(float* out, const float* col, const float* bias, const __grid_constant__ Geometry g, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 x = i % g.w, y = i / g.w % g.h, c = i / (g.w * g.h) % g.c, image = i / (g.w * g.h * g.c);
    float sum = bias ? bias[c] : 0.0f;
    for (u32 u = 0; u < g.kh; ++u) {
        int row = (int)(y + g.above) - (int)u;
        if (row < 0 || row % g.stride || row / g.stride >= g.oh) continue;
        for (u32 v = 0; v < g.kw; ++v) {
            int column = (int)(x + g.left) - (int)v;
            if (column < 0 || column % g.stride || column / g.stride >= g.ow) continue;
            u32 k = (c * g.kh + u) * g.kw + v;
            sum += col[((k * g.b + image) * g.oh + row / g.stride) * g.ow + column / g.stride];
        }
    }
    out[i] = sum;
}

// `(a, b, s)` becomes `(b, a, s)`. A bias for each of the a is added to the first `biased` of the b; then
// what is negative may become zero.
KERNEL swapped(float* out, const float* x, const float* bias, u32 a, u32 b, u32 s, u32 biased, u32 rectify, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 l = i % s, j = i / s % a, k = i / (s * a);
    float y = x[(j * b + k) * s + l];
    if (bias && k < biased) y += bias[j];
    out[i] = rectify && y <= 0.0f ? 0.0f : y;
}

// The sum of every channel of `(b, c, s)`; a block for each.
KERNEL channel_sums(float* out, const float* x, u32 b, u32 c, u32 s) {
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < b * s; i += WIDE) sum += x[(i / s * c + blockIdx.x) * s + i % s];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

KERNEL depthwise(float* out, const float* x, const float* weight, const float* bias, const __grid_constant__ Geometry g, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 ow = i % g.ow, oh = i / g.ow % g.oh, plane = i / (g.ow * g.oh), c = plane % g.c;
    float sum = bias ? bias[c] : 0.0f;
    for (u32 u = 0; u < g.kh; ++u) {
        int y = (int)(oh * g.stride + u) - (int)g.above;
        if (y < 0 || y >= (int)g.h) continue;
        for (u32 v = 0; v < g.kw; ++v) {
            int z = (int)(ow * g.stride + v) - (int)g.left;
            if (z < 0 || z >= (int)g.w) continue;
            sum += weight[(c * g.kh + u) * g.kw + v] * x[(plane * g.h + y) * g.w + z];
        }
    }
    out[i] = sum;
}

KERNEL depthwise_image_grad(float* out, const float* grad, const float* weight, const __grid_constant__ Geometry g, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 x = i % g.w, y = i / g.w % g.h, plane = i / (g.w * g.h), c = plane % g.c;
    float sum = 0.0f;
    for (u32 u = 0; u < g.kh; ++u) {
        int row = (int)(y + g.above) - (int)u;
        if (row < 0 || row % g.stride || row / g.stride >= g.oh) continue;
        for (u32 v = 0; v < g.kw; ++v) {
            int column = (int)(x + g.left) - (int)v;
            if (column < 0 || column % g.stride || column / g.stride >= g.ow) continue;
            sum += weight[(c * g.kh + u) * g.kw + v] * grad[(plane * g.oh + row / g.stride) * g.ow + column / g.stride];
        }
    }
    out[i] = sum;
}

// A block for each tap of each channel.
KERNEL depthwise_weight_grad(float* out, const float* x, const float* grad, const __grid_constant__ Geometry g) {
    u32 v = blockIdx.x % g.kw, u = blockIdx.x / g.kw % g.kh, c = blockIdx.x / (g.kw * g.kh);
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < g.b * g.oh * g.ow; i += LINE) {
        u32 ow = i % g.ow, oh = i / g.ow % g.oh, plane = i / (g.ow * g.oh) * g.c + c;
        int y = (int)(oh * g.stride + u) - (int)g.above, z = (int)(ow * g.stride + v) - (int)g.left;
        if (y < 0 || y >= (int)g.h || z < 0 || z >= (int)g.w) continue;
        sum += grad[(plane * g.oh + oh) * g.ow + ow] * x[(plane * g.h + y) * g.w + z];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// Planes of `h` x `w`: every pixel `factor` times into a square of a plane of `large_h` x `large_w`.
KERNEL to_squares(float* out, const float* x, float factor, u32 h, u32 w, u32 large_h, u32 large_w, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 column = i % large_w / 2, row = i / large_w % large_h / 2, plane = i / (large_w * large_h);
    out[i] = row < h && column < w ? factor * x[(plane * h + row) * w + column] : 0.0f;
}

// The sum of every square, times `factor`.
KERNEL from_squares(float* out, const float* x, float factor, u32 h, u32 w, u32 large_h, u32 large_w, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 column = i % w, row = i / w % h, plane = i / (w * h);
    const float* at = x + (plane * large_h + 2 * row) * large_w + 2 * column;
    out[i] = factor * ((at[0] + at[1]) + (at[large_w] + at[large_w + 1]));
}
