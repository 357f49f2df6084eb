// What products leave to do: biases and their gradients, the optimisers.

// In place; the first `n` elements.
KERNEL add_bias(float* y, const float* bias, u32 columns, u32 n) {
    u32 i = ELEMENT;
    if (i < n) y[i] += bias[i % columns];
}

// The sums of every column over `step` rows for each block of them.
KERNEL column_sums(float* out, const float* x, u32 rows, u32 columns, u32 step) {
    u32 lane = blockIdx.x * LANES + threadIdx.x;
    bool inside = lane < columns;
    u32 end = min(rows, (blockIdx.y + 1) * step);
    float sum = 0.0f;
    for (u32 row = blockIdx.y * step + threadIdx.y; inside && row < end; row += ROWS) sum += x[row * columns + lane];
    sum = lane_sum(sum);
    if (inside && threadIdx.y == 0) out[blockIdx.y * columns + lane] = sum;
}

// A chunk of parameters of an optimiser that steps through many tensors at once.
#define TENSORS 48
struct Tensors {
    float* parameter[TENSORS];
    const float* grad[TENSORS];
    float* first[TENSORS];
    float* second[TENSORS];
    // Blocks before each tensor, and elements of each.
    u32 block[TENSORS];
    u32 len[TENSORS];
};

__device__ __forceinline__ bool at(const Tensors& all, u32 count, u32* tensor, u32* element) {
    u32 low = 0, high = count;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        if (all.block[middle] <= blockIdx.x) low = middle; else high = middle;
    }
    *tensor = low;
    *element = (blockIdx.x - all.block[low]) * blockDim.x + threadIdx.x;
    return *element < all.len[low];
}

KERNEL adam(const __grid_constant__ Tensors all, float keep1, float take1, float keep2, float take2, float step_size, float correction, float eps, u32 nan_as_zero, u32 count) {
    u32 t;
    u32 i;
    if (!at(all, count, &t, &i)) return;
    float g = all.grad[t][i];
    if (nan_as_zero && isnan(g)) g = 0.0f;
    float m = keep1 * all.first[t][i] + take1 * g;
    float v = keep2 * all.second[t][i] + take2 * (g * g);
    all.first[t][i] = m;
    all.second[t][i] = v;
    all.parameter[t][i] -= step_size * m / (sqrtf(v / correction) + eps);
}

KERNEL adamax(const __grid_constant__ Tensors all, float keep1, float take1, float keep2, float step_size, float eps, float weight_decay, u32 count) {
    u32 t;
    u32 i;
    if (!at(all, count, &t, &i)) return;
    float p = all.parameter[t][i];
    float g = all.grad[t][i] + weight_decay * p;
    float m = keep1 * all.first[t][i] + take1 * g;
    // Not `fmaxf`, which loses what is not a number.
    float kept = keep2 * all.second[t][i], here = fabsf(g) + eps, u = kept > here ? kept : here;
    all.first[t][i] = m;
    all.second[t][i] = u;
    all.parameter[t][i] = p - step_size * m / u;
}

// The tensors at `grad`, each of `len` elements, one after the other; a row of blocks for each.
KERNEL stacked_tensors(float* out, const __grid_constant__ Tensors all, u32 len) {
    u32 i = ELEMENT;
    if (i < len) out[blockIdx.y * len + i] = all.grad[blockIdx.y][i];
}

// Power iteration, a block for each matrix: `second` begins the left vector, `parameter` and `first` take
// both, `block` and `len` are rows and columns.
KERNEL spectral_rounds(const __grid_constant__ Tensors all, u32 rounds) {
    u32 t = blockIdx.x, rows = all.block[t], columns = all.len[t];
    const float* w = all.grad[t];
    float *u = all.parameter[t], *v = all.first[t];
    float before = 0.0f;
    for (u32 i = threadIdx.x; i < rows; i += LINE) {
        u[i] = all.second[t][i];
        before += u[i] * u[i];
    }
    // A kernel of zeros leaves `u` zero: it begins again between all axes.
    if (block_sum(before) == 0.0f) {
        for (u32 i = threadIdx.x; i < rows; i += LINE) u[i] = 1.0f / sqrtf((float)rows);
    }
    for (u32 round = 0; round < rounds; ++round) {
        __syncthreads();
        float square = 0.0f;
        for (u32 j = threadIdx.x; j < columns; j += LINE) {
            float sum = 0.0f;
            for (u32 i = 0; i < rows; ++i) sum += u[i] * w[i * columns + j];
            v[j] = sum;
            square += sum * sum;
        }
        float length = fmaxf(sqrtf(block_sum(square)), 1e-3f);
        for (u32 j = threadIdx.x; j < columns; j += LINE) v[j] /= length;
        __syncthreads();
        square = 0.0f;
        for (u32 i = threadIdx.x / 32; i < rows; i += LINE / 32) {
            float sum = 0.0f;
            for (u32 j = threadIdx.x % 32; j < columns; j += 32) sum += w[i * columns + j] * v[j];
            for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
            if (threadIdx.x % 32 == 0) {
                u[i] = sum;
                square += sum * sum;
            }
        }
        length = fmaxf(sqrtf(block_sum(square)), 1e-3f);
        for (u32 i = threadIdx.x; i < rows; i += LINE) u[i] /= length;
    }
}

// `u^T w v`, by one block.
KERNEL bilinear_form(float* out, const float* w, const float* u, const float* v, u32 columns, u32 n) {
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < n; i += LINE) sum += u[i / columns] * w[i] * v[i % columns];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[0] = sum;
}

KERNEL bilinear_form_grad(float* out, const float* u, const float* v, const float* grad, u32 columns, u32 n) {
    u32 i = ELEMENT;
    if (i < n) out[i] = grad[0] * u[i / columns] * v[i % columns];
}

// Adds the scalars at `grad` to the first number of the result, in their order.
KERNEL sum_scalars(float* out, const __grid_constant__ Tensors all, u32 begin, u32 count) {
    if (ELEMENT) return;
    float sum = begin ? 0.0f : out[0];
    for (u32 i = 0; i < count; ++i) sum += all.grad[i][0];
    out[0] = sum;
}
