#version 460
/* Whether the compiler knows matrices that a workgroup holds together, loaded with bounds. */
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_buffer_reference : require

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SIZE = 64;
layout(buffer_reference, std430) buffer factor_ptr { float16_t at[]; };
layout(buffer_reference, std430) buffer result_ptr { float at[]; };
layout(push_constant) uniform push { factor_ptr x; result_ptr y; uint rows; uint columns; };

float bend(const in uint row, const in uint column, const in float value)
{
    return max(value, 0.0);
}

void main()
{
    tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV> layout_x =
        createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);
    tensorViewNV<2, true, 1, 0> transposed = createTensorViewNV(2, true, 1, 0);
    coopmat<float16_t, gl_ScopeWorkgroup, SIZE, SIZE, gl_MatrixUseA> a;
    coopmat<float16_t, gl_ScopeWorkgroup, SIZE, SIZE, gl_MatrixUseB> b;
    coopmat<float, gl_ScopeWorkgroup, SIZE, SIZE, gl_MatrixUseAccumulator> c;

    c = coopmat<float, gl_ScopeWorkgroup, SIZE, SIZE, gl_MatrixUseAccumulator>(0.0);
    layout_x = setTensorLayoutDimensionNV(layout_x, rows, columns);
    layout_x = sliceTensorLayoutNV(layout_x, 0, SIZE, 0, SIZE);
    coopMatLoadTensorNV(a, x.at, 0u, layout_x);
    coopMatLoadTensorNV(b, x.at, 0u, layout_x, transposed);
    c = coopMatMulAdd(a, b, c);
    coopMatPerElementNV(c, c, bend);
    coopMatStoreTensorNV(c, y.at, 0u, layout_x);
}
