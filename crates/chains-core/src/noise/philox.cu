// The stream of `philox.rs` on a GPU: the same operations in the same order, every rounding explicit, so
// that the bits are those of the host. Compiled at run time, without fused contractions.

typedef unsigned int u32;
typedef unsigned long long u64;

__device__ __forceinline__ void philox(u64 index, u64 draw, u64 key, u32 x[4]) {
    u32 k0 = (u32)key, k1 = (u32)(key >> 32);
    x[0] = (u32)index;
    x[1] = (u32)(index >> 32);
    x[2] = (u32)draw;
    x[3] = (u32)(draw >> 32);
    for (int round = 0; round < 10; ++round) {
        u64 a = (u64)x[0] * 0xD2511F53u;
        u64 b = (u64)x[2] * 0xCD9E8D57u;
        x[0] = (u32)(b >> 32) ^ x[1] ^ k0;
        x[1] = (u32)b;
        x[2] = (u32)(a >> 32) ^ x[3] ^ k1;
        x[3] = (u32)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

__device__ __forceinline__ float bits_to_float(u32 x) {
    return __uint_as_float(x);
}

__device__ __forceinline__ float log_of(float x) {
    u32 bits = __float_as_uint(x) - 0x3f3504f3u;
    float n = (float)((int)bits >> 23);
    float m = bits_to_float((bits & 0x007fffffu) + 0x3f3504f3u);
    float s = (m - 1.0f) / (m + 1.0f);
    float q = s * s;
    float t = 1.0f / 11.0f;
    t = fmaf(t, q, 1.0f / 9.0f);
    t = fmaf(t, q, 1.0f / 7.0f);
    t = fmaf(t, q, 0.2f);
    t = fmaf(t, q, 1.0f / 3.0f);
    return fmaf(n, 0.6933594f, 2.0f * fmaf(s * q, t, s) + n * -2.1219444e-4f);
}

__device__ __forceinline__ void pair_of(u32 a, u32 b, float out[2]) {
    float u = fmaf((float)a, 2.3283064365386963e-10f, 1.1641532182693481e-10f);
    float r = sqrtf(-2.0f * log_of(u));
    u32 turned = b + 0x20000000u;
    float t = (float)((int)(turned & 0x3fffffffu) - 0x20000000) * 1.4629180792671596e-09f;
    float q = t * t;
    float s = 1.0f / 362880.0f;
    s = fmaf(s, q, -1.0f / 5040.0f);
    s = fmaf(s, q, 1.0f / 120.0f);
    s = fmaf(s, q, -1.0f / 6.0f);
    s = fmaf(s * q, t, t);
    float c = -1.0f / 3628800.0f;
    c = fmaf(c, q, 1.0f / 40320.0f);
    c = fmaf(c, q, -1.0f / 720.0f);
    c = fmaf(c, q, 1.0f / 24.0f);
    c = fmaf(c, q, -0.5f);
    c = fmaf(c, q, 1.0f);
    u32 quarter = turned >> 30;
    float x = (quarter & 1u) ? s : c;
    float y = (quarter & 1u) ? c : s;
    out[0] = r * ((quarter == 1u || quarter == 2u) ? -x : x);
    out[1] = r * ((quarter >= 2u) ? -y : y);
}

extern "C" __global__ void philox_normal(float *out, u64 len, u64 key, u64 draw) {
    u64 step = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; 4 * i < len; i += step) {
        u32 x[4];
        float y[4];
        philox(i, draw, key, x);
        pair_of(x[0], x[1], y);
        pair_of(x[2], x[3], y + 2);
        for (u64 k = 0; k < 4 && 4 * i + k < len; ++k) out[4 * i + k] = y[k];
    }
}

extern "C" __global__ void philox_uniform(float *out, u64 len, u64 key, u64 draw) {
    u64 step = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; 4 * i < len; i += step) {
        u32 x[4];
        philox(i, draw, key, x);
        for (u64 k = 0; k < 4 && 4 * i + k < len; ++k)
            out[4 * i + k] = (float)(x[k] >> 8) * 5.9604644775390625e-08f;
    }
}

// One draw of `(1 - rate) N(sigmoid(a), scale sigmoid(b) + floor) + rate N(target, spread^2)` for every element:
// the uniform numbers of one draw of the stream decide, the normal ones of the next move. At rate 0 nothing decides.
extern "C" __global__ void philox_squashed_mixture(
    float *out, const float *a, const float *b, const float *target,
    float scale, float floor, float rate, float spread, u64 len, u64 key, u64 draw) {
    u64 step = (u64)gridDim.x * blockDim.x;
    bool infuses = rate > 0.0f;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; 4 * i < len; i += step) {
        u32 decide[4] = {0u, 0u, 0u, 0u}, x[4];
        float e[4];
        if (infuses) philox(i, draw, key, decide);
        philox(i, infuses ? draw + 1 : draw, key, x);
        pair_of(x[0], x[1], e);
        pair_of(x[2], x[3], e + 2);
        for (u64 k = 0; k < 4 && 4 * i + k < len; ++k) {
            u64 j = 4 * i + k;
            bool taken = infuses && (float)(decide[k] >> 8) * 5.9604644775390625e-08f < rate;
            float mean = taken ? target[j] : 1.0f / (1.0f + expf(-a[j]));
            float deviation = taken ? spread : sqrtf(scale / (1.0f + expf(-b[j])) + floor);
            out[j] = mean + deviation * e[k];
        }
    }
}
