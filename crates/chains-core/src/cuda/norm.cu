// Normalisations. Batches are `(g, b, c, s)`: the channels of dense layers, `s == 1`, are the lanes of a
// block; a channel of maps has a block of its own.

enum { PLAIN, RECTIFIED, LEAKY, SWISH };

__device__ __forceinline__ float passed(float y, float g, u32 kind, float slope) {
    switch (kind) {
        case RECTIFIED: return y <= 0.0f ? 0.0f : g;
        case LEAKY: return y > 0.0f ? g : slope * g;
        case SWISH: return g * silu_slope(y);
        default: return g;
    }
}

__device__ __forceinline__ float activated(float y, u32 kind, float slope) {
    switch (kind) {
        case RECTIFIED: return y <= 0.0f ? 0.0f : y;
        case LEAKY: return y > 0.0f ? y : slope * y;
        case SWISH: return y / (1.0f + expf(-y));
        default: return y;
    }
}

// With `out` also the normalised values.
KERNEL batch_moments_lanes(float* means, float* variances, float* out, const float* x, const float* gain, const float* shift, float eps, float slope, u32 on_deviation, u32 kind, u32 b, u32 c) {
    u32 lane = blockIdx.x * LANES + threadIdx.x;
    bool inside = lane < c;
    const float* group = x + blockIdx.y * b * c + (inside ? lane : 0);
    float sum = 0.0f, square = 0.0f;
    for (u32 row = threadIdx.y; inside && row < b; row += ROWS) sum += group[row * c];
    float mean = lane_sum(sum) / (float)b;
    for (u32 row = threadIdx.y; inside && row < b; row += ROWS) {
        float d = group[row * c] - mean;
        square += d * d;
    }
    float variance = lane_sum(square) / (float)b;
    if (!inside) return;
    u32 channel = blockIdx.y * c + lane;
    if (threadIdx.y == 0) {
        means[channel] = mean;
        variances[channel] = variance;
    }
    if (!out) return;
    float factor = gain[channel] * scale_and_pull(variance, eps, on_deviation).x, h = shift[channel];
    for (u32 row = threadIdx.y; row < b; row += ROWS) {
        out[blockIdx.y * b * c + row * c + lane] = activated((group[row * c] - mean) * factor + h, kind, slope);
    }
}

KERNEL batch_moments_maps(float* means, float* variances, const float* x, u32 b, u32 c, u32 s) {
    u32 channel = blockIdx.x;
    const float* group = x + blockIdx.y * b * c * s;
    u32 count = b * s;
    float sum = 0.0f, square = 0.0f;
    for (u32 i = threadIdx.x; i < count; i += WIDE) sum += group[((i / s) * c + channel) * s + i % s];
    float mean = block_sum(sum) / (float)count;
    for (u32 i = threadIdx.x; i < count; i += WIDE) {
        float d = group[((i / s) * c + channel) * s + i % s] - mean;
        square += d * d;
    }
    float variance = block_sum(square) / (float)count;
    if (threadIdx.x == 0) {
        means[blockIdx.y * c + channel] = mean;
        variances[blockIdx.y * c + channel] = variance;
    }
}

KERNEL batch_norm(float* out, const float* x, const float* means, const float* variances, const float* gain, const float* shift, float eps, float slope, u32 on_deviation, u32 kind, u32 b, u32 c, u32 s, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 channel = i / (b * c * s) * c + i / s % c;
    float scale = scale_and_pull(variances[channel], eps, on_deviation).x;
    float y = (x[i] - means[channel]) * (gain[channel] * scale) + shift[channel];
    out[i] = activated(y, kind, slope);
}

// The sums over a channel of the gradient times the normalised value, and of the gradient, both of what
// passed the activation.
KERNEL batch_norm_sums_lanes(float* gains, float* shifts, const float* x, const float* grad, const float* means, const float* variances, const float* gain, const float* shift, float eps, float slope, u32 on_deviation, u32 kind, u32 b, u32 c) {
    u32 lane = blockIdx.x * LANES + threadIdx.x;
    bool inside = lane < c;
    u32 channel = blockIdx.y * c + (inside ? lane : 0);
    u32 start = blockIdx.y * b * c + (inside ? lane : 0);
    float scale = scale_and_pull(variances[channel], eps, on_deviation).x;
    float mean = means[channel], a = gain[channel], h = shift[channel], along = 0.0f, sum = 0.0f;
    for (u32 row = threadIdx.y; inside && row < b; row += ROWS) {
        float z = (x[start + row * c] - mean) * scale;
        float g = passed(z * a + h, grad[start + row * c], kind, slope);
        along += g * z;
        sum += g;
    }
    along = lane_sum(along);
    sum = lane_sum(sum);
    if (inside && threadIdx.y == 0) {
        gains[channel] = along;
        shifts[channel] = sum;
    }
}

KERNEL batch_norm_sums_maps(float* gains, float* shifts, const float* x, const float* grad, const float* means, const float* variances, const float* gain, const float* shift, float eps, float slope, u32 on_deviation, u32 kind, u32 b, u32 c, u32 s) {
    u32 channel = blockIdx.y * c + blockIdx.x, count = b * s;
    u32 start = blockIdx.y * b * c * s + blockIdx.x * s;
    float scale = scale_and_pull(variances[channel], eps, on_deviation).x;
    float mean = means[channel], a = gain[channel], h = shift[channel], along = 0.0f, sum = 0.0f;
    for (u32 i = threadIdx.x; i < count; i += WIDE) {
        u32 at = start + (i / s) * c * s + i % s;
        float z = (x[at] - mean) * scale;
        float g = passed(z * a + h, grad[at], kind, slope);
        along += g * z;
        sum += g;
    }
    along = block_sum(along);
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        gains[channel] = along;
        shifts[channel] = sum;
    }
}

// `count` is one over the elements of a channel, or zero where the moments are constants.
KERNEL batch_norm_grad(float* out, const float* x, const float* grad, const float* means, const float* variances, const float* gain, const float* shift, const float* gains, const float* shifts, float eps, float slope, float count, u32 on_deviation, u32 kind, u32 b, u32 c, u32 s, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    u32 channel = i / (b * c * s) * c + i / s % c;
    float2 of = scale_and_pull(variances[channel], eps, on_deviation);
    float z = (x[i] - means[channel]) * of.x;
    float g = passed(z * gain[channel] + shift[channel], grad[i], kind, slope);
    if (count > 0.0f) g -= (shifts[channel] + z * (gains[channel] * of.y)) * count;
    out[i] = gain[channel] * of.x * g;
}

KERNEL layer_norm(float* out, const float* x, const float* gain, const float* shift, float eps, u32 on_deviation, u32 d) {
    const float* row = x + blockIdx.x * d;
    float sum = 0.0f, square = 0.0f;
    for (u32 i = threadIdx.x; i < d; i += LINE) sum += row[i];
    float mean = block_sum(sum) / (float)d;
    for (u32 i = threadIdx.x; i < d; i += LINE) square += (row[i] - mean) * (row[i] - mean);
    float scale = scale_and_pull(block_sum(square) / (float)d, eps, on_deviation).x;
    for (u32 i = threadIdx.x; i < d; i += LINE) {
        out[blockIdx.x * d + i] = (row[i] - mean) * scale * gain[i] + shift[i];
    }
}

// The gradient of the input, if wanted, and mean and scale of every row for those of the parameters.
KERNEL layer_norm_grad(float* out, float* stats, const float* x, const float* gain, const float* grad, float eps, u32 on_deviation, u32 d) {
    const float* row = x + blockIdx.x * d;
    const float* g = grad + blockIdx.x * d;
    float sum = 0.0f, square = 0.0f, plain = 0.0f, along = 0.0f;
    for (u32 i = threadIdx.x; i < d; i += LINE) {
        sum += row[i];
        plain += g[i] * gain[i];
    }
    float mean = block_sum(sum) / (float)d;
    plain = block_sum(plain) / (float)d;
    for (u32 i = threadIdx.x; i < d; i += LINE) {
        float off = row[i] - mean;
        square += off * off;
        along += g[i] * gain[i] * off;
    }
    float2 of = scale_and_pull(block_sum(square) / (float)d, eps, on_deviation);
    along = block_sum(along) * of.x * of.x / (float)d * of.y;
    for (u32 i = threadIdx.x; out && i < d; i += LINE) {
        out[blockIdx.x * d + i] = of.x * (g[i] * gain[i] - plain - (row[i] - mean) * along);
    }
    if (threadIdx.x == 0) {
        stats[2 * blockIdx.x] = mean;
        stats[2 * blockIdx.x + 1] = of.x;
    }
}

// Sums over `step` rows for each block of them.
KERNEL layer_norm_sums(float* gains, float* shifts, const float* x, const float* grad, const float* stats, u32 rows, u32 d, u32 step) {
    u32 lane = blockIdx.x * LANES + threadIdx.x;
    bool inside = lane < d;
    u32 end = min(rows, (blockIdx.y + 1) * step);
    float along = 0.0f, sum = 0.0f;
    for (u32 row = blockIdx.y * step + threadIdx.y; inside && row < end; row += ROWS) {
        float g = grad[row * d + lane];
        along += g * (x[row * d + lane] - stats[2 * row]) * stats[2 * row + 1];
        sum += g;
    }
    along = lane_sum(along);
    sum = lane_sum(sum);
    if (inside && threadIdx.y == 0) {
        gains[blockIdx.y * d + lane] = along;
        shifts[blockIdx.y * d + lane] = sum;
    }
}
