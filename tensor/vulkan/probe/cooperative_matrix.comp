#version 460
/* Whether the compiler knows matrices that a subgroup holds together. */
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_buffer_reference : require

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SIZE = 16;
layout(buffer_reference, std430) buffer factor_ptr { float16_t at[]; };
layout(buffer_reference, std430) buffer result_ptr { float at[]; };
layout(push_constant) uniform push { factor_ptr x; result_ptr y; };

void main()
{
    coopmat<float16_t, gl_ScopeSubgroup, SIZE, SIZE, gl_MatrixUseA> a;
    coopmat<float16_t, gl_ScopeSubgroup, SIZE, SIZE, gl_MatrixUseB> b;
    coopmat<float, gl_ScopeSubgroup, SIZE, SIZE, gl_MatrixUseAccumulator> c;

    c = coopmat<float, gl_ScopeSubgroup, SIZE, SIZE, gl_MatrixUseAccumulator>(0.0);
    coopMatLoad(a, x.at, 0u, SIZE, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, x.at, 0u, SIZE, gl_CooperativeMatrixLayoutColumnMajor);
    coopMatStore(coopMatMulAdd(a, b, c), y.at, 0u, SIZE, gl_CooperativeMatrixLayoutRowMajor);
}
