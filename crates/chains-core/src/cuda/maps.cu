// Parts of maps and back, maps side by side, interpolation to twice the sides.

// A map of `(c, h, w)` and, of each of its axes, so many indices from one on, one step apart.
struct Spans {
    u32 size[3];
    u32 start[3], len[3], step[3];
};

// The place in the whole of an element of the part.
__device__ __forceinline__ u32 of_part(const Spans& s, u32 i) {
    u32 w = i % s.len[2], h = i / s.len[2] % s.len[1], c = i / (s.len[2] * s.len[1]) % s.len[0];
    u32 image = i / (s.len[2] * s.len[1] * s.len[0]);
    u32 channel = image * s.size[0] + s.start[0] + c * s.step[0];
    return (channel * s.size[1] + s.start[1] + h * s.step[1]) * s.size[2] + s.start[2] + w * s.step[2];
}

KERNEL part(float* out, const float* x, const __grid_constant__ Spans s, u32 n) {
    u32 i = ELEMENT;
    if (i < n) out[i] = x[of_part(s, i)];
}

// The part where it lies in the whole, whose other elements stay.
KERNEL part_placed(float* out, const float* x, const __grid_constant__ Spans s, u32 n) {
    u32 i = ELEMENT;
    if (i < n) out[of_part(s, i)] = x[i];
}

// Is an index of an axis one of the span's, and which?
__device__ __forceinline__ bool in_span(const Spans& s, int axis, u32 index, u32& at) {
    if (index < s.start[axis]) return false;
    u32 offset = index - s.start[axis];
    at = offset / s.step[axis];
    return offset % s.step[axis] == 0 && at < s.len[axis];
}

// The whole whose other elements are zero.
KERNEL part_grad(float* out, const float* grad, const __grid_constant__ Spans s, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 w = i % s.size[2], h = i / s.size[2] % s.size[1], c = i / (s.size[2] * s.size[1]) % s.size[0];
    u32 image = i / (s.size[2] * s.size[1] * s.size[0]);
    bool inside = in_span(s, 0, c, c) && in_span(s, 1, h, h) && in_span(s, 2, w, w);
    out[i] = inside ? grad[((image * s.len[0] + c) * s.len[1] + h) * s.len[2] + w] : 0.0f;
}

// The old pixel before a new one of an axis of `n` old ones, and the share of the pixel behind it.
__device__ __forceinline__ u32 old_pixel(u32 i, u32 n, float& share) {
    unsigned long long whole = (unsigned long long)i * (n - 1), twice = 2 * n - 1;
    share = (float)(whole % twice) / (float)twice;
    return (u32)(whole / twice);
}

KERNEL bilinear2(float* out, const float* x, u32 h, u32 w, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 plane = i / (4 * h * w);
    float down, right;
    u32 row = old_pixel(i / (2 * w) % (2 * h), h, down), column = old_pixel(i % (2 * w), w, right);
    u32 next = min(column + 1, w - 1);
    const float* upper = x + (plane * h + row) * w;
    const float* lower = x + (plane * h + min(row + 1, h - 1)) * w;
    float a = upper[column] + down * (lower[column] - upper[column]);
    float b = upper[next] + down * (lower[next] - upper[next]);
    out[i] = a + right * (b - a);
}

// What an old pixel of an axis of `n` has of a new one.
__device__ __forceinline__ float part_of(u32 old, u32 i, u32 n) {
    float share;
    u32 at = old_pixel(i, n, share), next = min(at + 1, n - 1);
    return (at == old ? 1.0f - share : 0.0f) + (next == old ? share : 0.0f);
}

// New pixels from `2 j - 2` to `2 j + 3` are the ones that the old pixel `j` can reach.
KERNEL bilinear2_grad(float* out, const float* grad, u32 h, u32 w, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 column = i % w, row = i / w % h, plane = i / (w * h);
    float sum = 0.0f;
    for (u32 y = row ? 2 * row - 2 : 0; y < min(2 * row + 4, 2 * h); ++y) {
        float down = part_of(row, y, h);
        if (down == 0.0f) continue;
        float along = 0.0f;
        for (u32 x = column ? 2 * column - 2 : 0; x < min(2 * column + 4, 2 * w); ++x) {
            float right = part_of(column, x, w);
            if (right != 0.0f) along += right * grad[(plane * 2 * h + y) * 2 * w + x];
        }
        sum += down * along;
    }
    out[i] = sum;
}
