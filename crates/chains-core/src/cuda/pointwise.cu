// Functions of one argument, draws and densities, an element for each thread; sums along rows, a block
// for each row, those of many terms of one size in f64.

enum { RELU, EXP, SIGMOID, SCALED_SIGMOID, LEAKY_RELU, SOFTPLUS, SILU, ELU, TANH, SOFT_CLAMP, SOFT_CLAMPED_EXP, SQUARE };

KERNEL activation(float* out, const float* x, float p, float q, u32 kind, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    float v = x[i], y;
    switch (kind) {
        case RELU: y = v <= 0.0f ? 0.0f : v; break;
        case EXP: y = expf(v); break;
        case SIGMOID: y = logistic(v); break;
        case SCALED_SIGMOID: y = p * logistic(v) + q; break;
        case LEAKY_RELU: y = v > 0.0f ? v : p * v; break;
        case SOFTPLUS: y = softplus(v); break;
        case SILU: y = v / (1.0f + expf(-v)); break;
        case ELU: y = v > 0.0f ? v : p * expm1f(v); break;
        case TANH: y = tanhf(v); break;
        case SOFT_CLAMP: y = p * tanhf(v / p); break;
        case SOFT_CLAMPED_EXP: y = expf(p * tanhf(v / p)) + q; break;
        default: y = v * v;
    }
    out[i] = y;
}

KERNEL activation_grad(float* out, const float* x, const float* y, const float* grad, float p, float q, u32 kind, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    float v = x[i], g = grad[i], d;
    switch (kind) {
        case RELU: d = y[i] <= 0.0f ? 0.0f : g; break;
        case EXP: d = g * y[i]; break;
        case SIGMOID: d = g * y[i] * (1.0f - y[i]); break;
        case SCALED_SIGMOID: d = g * (y[i] - q) * (1.0f - (y[i] - q) / p); break;
        case LEAKY_RELU: d = v > 0.0f ? g : p * g; break;
        case SOFTPLUS: d = g * logistic(v); break;
        case SILU: d = g * silu_slope(v); break;
        case ELU: d = v > 0.0f ? g : g * p * expf(v); break;
        case TANH: d = g * (1.0f - y[i]) * (1.0f + y[i]); break;
        case SOFT_CLAMP: {
            float t = y[i] / p;
            d = g * (1.0f - t) * (1.0f + t);
            break;
        }
        case SOFT_CLAMPED_EXP: {
            // One minus the square of the tangent, without the difference.
            float part = expf(-2.0f * fabsf(v / p));
            d = g * (y[i] - q) * (4.0f * part / ((1.0f + part) * (1.0f + part)));
            break;
        }
        default: d = 2.0f * v * g;
    }
    out[i] = d;
}

// Values and, behind `boundary`, tangents of the first of them: see `stacked_activation`.
__device__ __forceinline__ float2 stacked_slopes(float x, float slope, u32 soft) {
    if (!soft) return make_float2(x > 0.0f ? 1.0f : slope, 0.0f);
    float s = logistic(x);
    return make_float2(s, s * (1.0f - s));
}

KERNEL stacked(float* out, const float* x, float slope, u32 soft, u32 boundary, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    float v = x[i];
    if (i < boundary) {
        out[i] = soft ? softplus(v) : (v > 0.0f ? v : slope * v);
    } else {
        out[i] = stacked_slopes(x[i - boundary], slope, soft).x * v;
    }
}

KERNEL stacked_grad(float* out, const float* x, const float* grad, float slope, u32 soft, u32 boundary, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    if (i >= boundary) {
        out[i] = stacked_slopes(x[i - boundary], slope, soft).x * grad[i];
        return;
    }
    float2 d = stacked_slopes(x[i], slope, soft);
    float g = d.x * grad[i];
    // The first points have tangents.
    if (i + boundary < n) g += d.y * x[i + boundary] * grad[i + boundary];
    out[i] = g;
}

KERNEL gaussian_draw(float* out, const float* mean, const float* variance, const float* e, u32 n) {
    u32 i = ELEMENT;
    if (i < n) out[i] = mean[i] + sqrtf(variance[i]) * e[i];
}

KERNEL mixture_draw(float* out, const float* mean, const float* variance, const float* spike, const float* spike_variance, const float* u, const float* e, float rate, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    bool taken = u[i] < rate;
    float m = taken ? spike[i] : mean[i], v = taken ? spike_variance[i] : variance[i];
    out[i] = m + sqrtf(v) * e[i];
}

__device__ __forceinline__ float density(float x, float mean, float variance) {
    float d = x - mean;
    return -0.5f * (logf(6.283185307179586f * variance) + d * d / variance);
}

KERNEL gaussian_density(float* out, const float* x, const float* mean, const float* variance, u32 n) {
    u32 i = ELEMENT;
    if (i < n) out[i] = density(x[i], mean[i], variance[i]);
}

KERNEL gaussian_rows(float* out, const float* x, const float* mean, const float* variance, u32 d) {
    u32 start = blockIdx.x * d;
    double sum = 0.0;
    for (u32 i = start + threadIdx.x; i < start + d; i += LINE) sum += density(x[i], mean[i], variance[i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = (float)sum;
}

// `shared` elements have one gradient. Results that are not wanted are null.
KERNEL gaussian_grad(float* gx, float* gm, float* gv, const float* x, const float* mean, const float* variance, const float* grad, u32 shared, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    float d = x[i] - mean[i], v = variance[i], g = grad[i / shared];
    if (gx) gx[i] = -g * d / v;
    if (gm) gm[i] = g * d / v;
    if (gv) gv[i] = g * 0.5f * (d * d / v - 1.0f) / v;
}

// Minus the log of `1 - rate + rate spike / base`, summed along rows.
KERNEL mixture_log_ratio(float* out, const float* z, const float* base, const float* base_variance, const float* spike, const float* spike_variance, float own, float taken, u32 d) {
    u32 start = blockIdx.x * d;
    double sum = 0.0;
    for (u32 i = start + threadIdx.x; i < start + d; i += LINE) {
        float b = density(z[i], spike[i], spike_variance[i]) - density(z[i], base[i], base_variance[i]) + taken;
        // Comparisons, so that what is not a number stays.
        bool first = own >= b;
        float high = first ? own : b, low = first ? b : own;
        sum -= high + log1pf(expf(low - high));
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = (float)sum;
}

KERNEL heads(float* out, const float* x, const float* a, const float* b, float scale, float floor, u32 d, u32 repeat) {
    u32 start = blockIdx.x * d;
    double sum = 0.0;
    for (u32 i = start + threadIdx.x; i < start + d; i += LINE) {
        sum += density(x[i % repeat], logistic(a[i]), scale * logistic(b[i]) + floor);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = (float)sum;
}

KERNEL heads_grad(float* ga, float* gb, const float* x, const float* a, const float* b, const float* grad, float scale, float floor, u32 d, u32 repeat, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    float mean = logistic(a[i]), gate = logistic(b[i]), g = grad[i / d];
    float inverse = 1.0f / (scale * gate + floor), off = x[i % repeat] - mean;
    if (ga) ga[i] = g * off * inverse * mean * (1.0f - mean);
    if (gb) gb[i] = g * 0.5f * (off * off * inverse - 1.0f) * inverse * scale * gate * (1.0f - gate);
}

KERNEL divergence(float* out, const float* mean, const float* scale, const float* other, const float* wide, u32 d) {
    u32 start = blockIdx.x * d;
    double sum = 0.0;
    for (u32 i = start + threadIdx.x; i < start + d; i += LINE) {
        float distance = (mean[i] - other[i]) / wide[i], ratio = scale[i] / wide[i];
        sum += 0.5f * (distance * distance + ratio * ratio) - 0.5f - logf(ratio);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = (float)sum;
}

KERNEL divergence_grad(float* gm, float* gs, float* go, float* gw, const float* mean, const float* scale, const float* other, const float* wide, const float* grad, u32 d, u32 n) {
    u32 i = ELEMENT;
    if (i >= n) return;
    float g = grad[i / d], w = wide[i], distance = (mean[i] - other[i]) / w, ratio = scale[i] / w;
    if (gm) gm[i] = g * distance / w;
    if (gs) gs[i] = g * (ratio / w - 1.0f / scale[i]);
    if (go) go[i] = -g * distance / w;
    if (gw) gw[i] = g * (1.0f - distance * distance - ratio * ratio) / w;
}

KERNEL row_means(float* out, const float* x, u32 d) {
    u32 start = blockIdx.x * d;
    float sum = 0.0f;
    for (u32 i = start + threadIdx.x; i < start + d; i += LINE) sum += x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = sum / (float)d;
}

// Every number `d` times, times `factor`.
KERNEL spread_rows(float* out, const float* x, float factor, u32 d, u32 n) {
    u32 i = ELEMENT;
    if (i < n) out[i] = factor * x[i / d];
}

KERNEL add_gated(float* out, const float* x, const float* branch, const float* gate, float scale, u32 d, u32 n) {
    u32 i = ELEMENT;
    if (i < n) out[i] = (x ? x[i] : 0.0f) + scale * gate[i / d] * branch[i];
}

KERNEL row_products(float* out, const float* a, const float* b, float factor, u32 d) {
    u32 start = blockIdx.x * d;
    float sum = 0.0f;
    for (u32 i = start + threadIdx.x; i < start + d; i += LINE) sum += a[i] * b[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = factor * sum;
}

// The largest size of all numbers, by one block.
KERNEL largest_size(float* out, const float* x, u32 n) {
    __shared__ float parts[LINE];
    float most = 0.0f;
    for (u32 i = threadIdx.x; i < n; i += LINE) most = larger(most, fabsf(x[i]));
    parts[threadIdx.x] = most;
    __syncthreads();
    for (int half = LINE / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) parts[threadIdx.x] = larger(parts[threadIdx.x], parts[threadIdx.x + half]);
        __syncthreads();
    }
    if (threadIdx.x == 0) out[0] = parts[0];
}

// Equal sizes share the gradient; one block.
KERNEL largest_size_grad(float* out, const float* x, const float* most, const float* grad, u32 n) {
    float ties = 0.0f;
    for (u32 i = threadIdx.x; i < n; i += LINE) ties += fabsf(x[i]) >= most[0] ? 1.0f : 0.0f;
    ties = block_sum(ties);
    for (u32 i = threadIdx.x; i < n; i += LINE) {
        out[i] = fabsf(x[i]) >= most[0] ? grad[0] * copysignf(1.0f, x[i]) / ties : 0.0f;
    }
}

// Rows of a length: `exp(log) w / (|w| + eps)`; a block for each row.
KERNEL of_length(float* out, const float* w, const float* logs, float eps, u32 d) {
    u32 start = blockIdx.x * d;
    float square = 0.0f;
    for (u32 i = start + threadIdx.x; i < start + d; i += LINE) square += w[i] * w[i];
    float factor = expf(logs[blockIdx.x]) / (sqrtf(block_sum(square) + 1e-30f) + eps);
    for (u32 i = start + threadIdx.x; i < start + d; i += LINE) out[i] = factor * w[i];
}

KERNEL of_length_grad(float* gw, float* gl, const float* w, const float* logs, const float* grad, float eps, u32 d) {
    u32 start = blockIdx.x * d;
    float square = 0.0f, along = 0.0f;
    for (u32 i = start + threadIdx.x; i < start + d; i += LINE) {
        square += w[i] * w[i];
        along += w[i] * grad[i];
    }
    float length = sqrtf(block_sum(square) + 1e-30f);
    along = block_sum(along);
    float factor = expf(logs[blockIdx.x]) / (length + eps);
    float multiple = factor * along / ((length + eps) * length);
    if (gw) {
        for (u32 i = start + threadIdx.x; i < start + d; i += LINE) gw[i] = factor * grad[i] - multiple * w[i];
    }
    if (gl && threadIdx.x == 0) gl[blockIdx.x] = along * factor;
}
